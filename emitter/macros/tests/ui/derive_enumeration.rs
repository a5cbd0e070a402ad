use tidemesh_emitter_macros::Event;

#[derive(Event)]
#[event(topic = "shop.orders")]
enum Order {
    Placed { order_id: i64 },
}

fn main() {}
