//! Where the leaders are that a Produce or Fetch response names, so that a client need not ask (KIP-951).

use std::collections::BTreeSet;

use crate::metadata::image::MetadataImage;

/// The endpoints of `leaders` on the listener the client uses, each once, in the form that `make(id, host, port, rack)` gives them.
pub(crate) fn of<T>(
    image: &MetadataImage,
    listener_name: &str,
    leaders: Vec<i32>,
    make: impl Fn(i32, String, i32, Option<String>) -> T,
) -> Vec<T> {
    let leaders: BTreeSet<i32> = leaders.into_iter().collect();
    leaders
        .into_iter()
        .filter_map(|id| {
            let broker = image.cluster.broker(id).filter(|broker| !broker.fenced)?;
            let endpoint = broker.listener(listener_name)?;
            Some(make(id, endpoint.host.clone(), i32::from(endpoint.port), broker.rack.clone()))
        })
        .collect()
}
