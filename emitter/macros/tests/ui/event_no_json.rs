tidemesh_emitter_macros::avro_event! {
    file = "schemas/no_json.avsc",
    topic = "shop.orders",
}

fn main() {}
