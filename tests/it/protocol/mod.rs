//! The protocol layer against bytes made by Apache Kafka's own serializers.

mod allocation;
mod generated;
mod wire_golden;
