tidemesh_emitter_macros::avro_event! {
    file = "schemas/order.avsc",
    topic = "shop.orders",
    key = ["note"],
}

fn main() {}
