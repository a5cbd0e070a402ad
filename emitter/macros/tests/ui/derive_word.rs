use tidemesh_emitter_macros::Event;

#[derive(Event)]
#[event(topic = "shop.orders", keys = ["order_id"])]
struct Order {
    order_id: i64,
}

fn main() {}
