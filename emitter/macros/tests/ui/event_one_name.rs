tidemesh_emitter_macros::avro_event! {
    file = "schemas/one_name.avsc",
    topic = "shop.orders",
}

fn main() {}
