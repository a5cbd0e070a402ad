tidemesh_emitter_macros::avro_event! {
    file = "schemas/enumeration.avsc",
    topic = "shop.orders",
}

fn main() {}
