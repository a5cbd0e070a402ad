tidemesh_emitter_macros::avro_event! {
    file = "schemas/order.avsc",
    topic = "shop.orders",
    topic = "shop.other",
}

fn main() {}
