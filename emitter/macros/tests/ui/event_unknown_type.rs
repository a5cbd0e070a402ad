tidemesh_emitter_macros::avro_event! {
    file = "schemas/unknown_type.avsc",
    topic = "shop.orders",
}

fn main() {}
