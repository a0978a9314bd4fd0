//! Share groups at the leader of a partition (KIP-932): who has which record.

mod in_flight;
mod share_partition;
