tidemesh_emitter_macros::avro_event! {
    file = "schemas/order.avsc",
    key = ["order_id"],
}

fn main() {}
