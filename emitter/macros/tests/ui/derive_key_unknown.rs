use tidemesh_emitter_macros::Event;

#[derive(Event)]
#[event(topic = "shop.orders", key = ["orderId"])]
struct Order {
    order_id: i64,
}

fn main() {}
