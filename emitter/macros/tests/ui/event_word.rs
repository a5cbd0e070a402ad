tidemesh_emitter_macros::avro_event! {
    file = "schemas/order.avsc",
    topics = "shop.orders",
}

fn main() {}
