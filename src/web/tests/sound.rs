//! Sound as it is read: from which thread, how much at once, and past what is broken.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use async_trait::async_trait;
use axum::body::Bytes;

use super::{World, record, wait};
use crate::archive::record::{ArchivedFile, Digest, Record};
use crate::base::limits::CHUNK_BYTES;
use crate::seal::header::Header;
use crate::seal::identity::{Identities, generate_x25519};
use crate::seal::random::Seeded;
use crate::seal::recipient::Recipients;
use crate::seal::stream::seal_whole;
use crate::shell::vault::place::{Content, Place, PlaceError, Removal};
use crate::web::play::Sound;

/// Has objects in memory, and remembers who read how much of them.
#[derive(Debug, Default)]
struct Memory {
    objects: BTreeMap<String, Vec<u8>>,
    read: Mutex<Vec<(ThreadId, u64)>>,
}

#[async_trait]
impl Place for Memory {
    fn name(&self) -> &str {
        "memory"
    }
    fn site(&self) -> &str {
        "here"
    }
    async fn put_new(&self, _: &str, _: Content, _: bool) -> Result<(), PlaceError> {
        Ok(())
    }
    async fn replace(&self, _: &str, _: Bytes) -> Result<(), PlaceError> {
        Ok(())
    }
    async fn flush(&self) -> Result<(), PlaceError> {
        Ok(())
    }
    async fn get(&self, object: &str, range: Option<Range<u64>>) -> Result<Option<Bytes>, PlaceError> {
        let Some(bytes) = self.objects.get(object) else { return Ok(None) };
        let range = range.map_or(0..bytes.len(), |range| range.start as usize..range.end as usize);
        self.read.lock().unwrap().push((thread::current().id(), range.len() as u64));
        Ok(Some(Bytes::copy_from_slice(&bytes[range])))
    }
    async fn size(&self, object: &str) -> Result<Option<u64>, PlaceError> {
        Ok(self.objects.get(object).map(|bytes| bytes.len() as u64))
    }
    async fn remove(&self, _: &str) -> Result<Removal, PlaceError> {
        Ok(Removal::Absent)
    }
    async fn list(&self, _: &str, _: Option<&str>, _: usize) -> Result<Vec<String>, PlaceError> {
        Ok(Vec::new())
    }
}

/// A recording with one file of `plain` in each of `places`, of which each has these bytes of the body changed.
fn recorded(
    world: &mut World,
    plain: &[u8],
    places: &[&[usize]],
) -> (Record, ArchivedFile, Vec<Arc<Memory>>) {
    let mut random = Seeded::new(&[2; 32], "sound", 0);
    let (identity, recipient) = generate_x25519(&mut random);
    let sealed = seal_whole(plain, &Recipients::parse([&recipient]).unwrap(), &mut random).unwrap();
    let (header, body) = sealed.split_at(Header::read(&mut &sealed[..]).unwrap().to_bytes().len());
    let mut record = record(7);
    let ring = world.shared.intake.keys().unwrap();
    let envelope = ring.envelopes_for(&record.epoch().unwrap(), &[record.id]).unwrap().remove(0);
    let identities = Identities::parse(&identity).unwrap();
    let header = envelope.rewrap(&mut &header[..], &identities, &mut random).unwrap();
    let file = ArchivedFile {
        name: format!("{}.opus.age", record.id),
        header_sha256: Digest::of(&header),
        header_bytes: header.len() as u64,
        body_sha256: Digest::of(body),
        body_bytes: body.len() as u64,
    };
    record.files = vec![file.clone()];
    let (id, start) = (record.id, record.receipt.start);
    let place = |changed: &&[usize]| {
        let mut body = body.to_vec();
        changed.iter().for_each(|at| body[*at] ^= 1);
        let objects =
            [(file.header_object(&id, start), header.clone()), (file.body_object(&id, start), body)];
        Arc::new(Memory { objects: objects.into(), ..Memory::default() })
    };
    let memories: Vec<_> = places.iter().map(place).collect();
    let shared = Arc::get_mut(&mut world.shared).unwrap();
    shared.places = memories.iter().map(|memory| Arc::clone(memory) as Arc<dyn Place>).collect();
    (record, file, memories)
}

fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

#[test]
fn a_whole_file_is_read_some_megabytes_at_a_time_and_not_by_the_thread_that_waits_for_all() {
    wait(async {
        let mut world = World::new().await;
        let plain = noise(66 * CHUNK_BYTES + 77);
        let (record, file, memories) = recorded(&mut world, &plain, &[&[]]);
        let sound = Sound::open(&world.shared, &record, &file).await.unwrap();
        assert!(*sound.whole(1 << 30).await.unwrap() == plain);
        let read = memories[0].read.lock().unwrap();
        assert!(read.iter().all(|(thread, _)| *thread != thread::current().id()));
        let sizes: Vec<_> = read.iter().map(|(_, bytes)| *bytes).collect();
        let (first, rest) = (64 * (CHUNK_BYTES as u64 + 16), 2 * (CHUNK_BYTES as u64 + 16) + 77 + 16);
        assert_eq!(sizes, [file.header_bytes, 16, first, rest]);
    });
}

#[test]
fn what_is_broken_in_each_place_and_whole_in_another_is_read() {
    wait(async {
        let mut world = World::new().await;
        let plain = noise(3 * CHUNK_BYTES);
        let (record, file, _) = recorded(&mut world, &plain, &[&[20], &[2 * CHUNK_BYTES]]);
        let sound = Sound::open(&world.shared, &record, &file).await.unwrap();
        assert!(*sound.whole(1 << 30).await.unwrap() == plain);
        assert!(sound.whole(plain.len() as u64 - 1).await.is_err(), "longer than it may be");
        let (record, file, _) = recorded(&mut world, &plain, &[&[20], &[20, 2 * CHUNK_BYTES]]);
        let sound = Sound::open(&world.shared, &record, &file).await.unwrap();
        assert!(sound.whole(1 << 30).await.is_err(), "nowhere whole");
    });
}
