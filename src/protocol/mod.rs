//! Kafka's wire format: frames, messages, record batches, error codes.
