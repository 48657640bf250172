//! A place that cannot or may not remove: what it keeps opens for nobody.

use async_trait::async_trait;
use bytes::Bytes;
use sejf::shell::vault::place::{PlaceError, Removal};

use super::*;

/// A place that keeps bodies for as long as they are locked, and is away for some time.
#[derive(Debug)]
struct Stubborn {
    place: Arc<dyn Place>,
    is_locked: AtomicBool,
    is_away: AtomicBool,
}

#[async_trait]
impl Place for Stubborn {
    fn name(&self) -> &str {
        self.place.name()
    }
    fn site(&self) -> &str {
        self.place.site()
    }
    async fn put_new(&self, object: &str, content: Content, lazily: bool) -> Result<(), PlaceError> {
        self.place.put_new(object, content, lazily).await
    }
    async fn replace(&self, object: &str, content: Bytes) -> Result<(), PlaceError> {
        self.place.replace(object, content).await
    }
    async fn flush(&self) -> Result<(), PlaceError> {
        self.place.flush().await
    }
    async fn get(&self, object: &str, range: Option<Range<u64>>) -> Result<Option<Bytes>, PlaceError> {
        self.place.get(object, range).await
    }
    async fn size(&self, object: &str) -> Result<Option<u64>, PlaceError> {
        self.place.size(object).await
    }
    async fn remove(&self, object: &str) -> Result<Removal, PlaceError> {
        if self.is_away.load(Ordering::Relaxed) {
            let place = self.name().to_owned();
            return Err(PlaceError::Lies { place, object: object.into(), fault: "away".into() });
        }
        if self.is_locked.load(Ordering::Relaxed) && object.ends_with(".body") {
            return Ok(Removal::Locked);
        }
        self.place.remove(object).await
    }
    async fn list(&self, prefix: &str, after: Option<&str>, count: usize) -> Result<Vec<String>, PlaceError> {
        self.place.list(prefix, after, count).await
    }
}

#[test]
fn what_a_place_keeps_opens_for_nobody_and_goes_when_it_can() {
    let bench = Bench::new(&[(OLD, 3)]);
    let (vault, ring) = bench.unlock();
    bench.agree(&vault, &scope(&bench.ids(0..2)));
    let mut places = vault.places().expect("places");
    let second = places.pop().expect("a place");
    let (is_locked, is_away) = (AtomicBool::new(true), AtomicBool::new(true));
    let stubborn = Arc::new(Stubborn { place: second, is_locked, is_away });
    places.push(stubborn.clone());
    let run = || destroy(&vault, &ring, &places, ClockTrust::Trusted, &|_| true).expect("destroyed");
    assert_eq!(run(), Done { recordings: 2, left: 2, ..Done::default() });
    let certificate = bench.certificates(&vault).remove(0).1;
    assert_eq!(certificate.copies.iter().map(|copies| copies.failed).collect::<Vec<_>>(), [0, 4]);
    let keys = bench.surviving_keys(&vault, &ring);
    assert_eq!(bench.open_in(&bench.path("store-2"), &keys), bench.ids(2..3));
    stubborn.is_away.store(false, Ordering::Relaxed);
    assert_eq!(run(), Done { left: 2, ..Done::default() });
    assert_eq!(files(&bench.path("store-2")).len(), 2 + 2, "two bodies, and both objects of the third");
    stubborn.is_locked.store(false, Ordering::Relaxed);
    assert_eq!(run(), Done::default());
    assert_eq!(files(&bench.path("store-2")).len(), 2);
}
