tidemesh_emitter_macros::avro_event! {
    file = "schemas/nowhere.avsc",
    topic = "shop.orders",
}

fn main() {}
