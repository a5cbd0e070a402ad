use tidemesh_emitter_macros::Event;

#[derive(Event)]
#[event(topic = "shop.orders")]
struct Order<T> {
    order_id: T,
}

fn main() {}
