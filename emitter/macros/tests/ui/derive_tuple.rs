use tidemesh_emitter_macros::Event;

#[derive(Event)]
#[event(topic = "shop.orders")]
struct Order(i64);

fn main() {}
