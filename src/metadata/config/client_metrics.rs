//! Every client metrics subscription config of Kafka 4.3.
//!
//! Source: `ClientMetricsConfigs`.

use super::ConfigType::{Int, List};
use super::Importance::Medium;
use super::Validator::{Any, AnyDistinct};
use super::{Definition, define};

#[rustfmt::skip]
pub(super) const CLIENT_METRICS: &[Definition] = &[
    define("metrics", List, "", AnyDistinct, Medium),
    define("interval.ms", Int, "300000", Any, Medium),
    define("match", List, "", AnyDistinct, Medium),
];
