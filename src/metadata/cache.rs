//! The newest published image, for readers on any thread.

use std::sync::Arc;

use tokio::sync::watch;

use super::delta::MetadataDelta;
use super::image::MetadataImage;
use super::publisher::Publisher;

/// Holds the newest image. Register it before every other publisher whose readers compare with the cache.
#[derive(Debug)]
pub struct MetadataCache {
    image: watch::Sender<Arc<MetadataImage>>,
}

impl Default for MetadataCache {
    fn default() -> MetadataCache {
        MetadataCache::new()
    }
}

impl MetadataCache {
    /// A cache of the empty image.
    pub fn new() -> MetadataCache {
        MetadataCache { image: watch::Sender::new(Arc::new(MetadataImage::default())) }
    }

    /// The newest image.
    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.image.borrow())
    }

    /// Wakes when a newer image is published.
    pub fn subscribe(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.image.subscribe()
    }

    /// Waits for an image that holds `condition`.
    pub async fn wait_for(&self, mut condition: impl FnMut(&MetadataImage) -> bool) -> Arc<MetadataImage> {
        let mut receiver = self.image.subscribe();
        // The sender lives in `self`, so the channel cannot close while we wait.
        let image = receiver.wait_for(|image| condition(image)).await.map(|image| Arc::clone(&image));
        image.unwrap_or_else(|_| self.image())
    }
}

impl Publisher for MetadataCache {
    fn name(&self) -> &str {
        "MetadataCache"
    }

    fn publish(&self, _delta: &MetadataDelta, image: &Arc<MetadataImage>) {
        self.image.send_replace(Arc::clone(image));
    }
}
