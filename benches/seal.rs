//! Budget: 60 ns for a write of 250 bytes, besides 80 µs to seal and hash a chunk; a file begun in 400 µs.

#![allow(missing_docs, reason = "criterion_group makes a public function without a doc")]

use std::hint::black_box;

use criterion::BatchSize;
use criterion::Criterion;
use criterion::Throughput;
use criterion::criterion_group;
use criterion::criterion_main;
use sejf::seal::identity::generate_hybrid;
use sejf::seal::identity::generate_x25519;
use sejf::seal::log::Log;
use sejf::seal::random::Randomness;
use sejf::seal::random::Seeded;
use sejf::seal::recipient::Recipients;
use sejf::seal::stream::PagePool;
use sejf::seal::stream::Sealer;

const WRITE_BYTES: usize = 250;
/// Writes that stay within one chunk.
const WRITES: usize = 256;

fn random() -> Seeded {
    Seeded::new(&[1; 32], "bench", 0)
}

fn recipients(generate: fn(&mut dyn Randomness) -> String) -> Recipients {
    Recipients::parse([generate(&mut random())]).expect("a generated recipient is valid")
}

fn x25519() -> Recipients {
    recipients(|random| generate_x25519(random).1)
}

fn start(recipients: &Recipients) -> Sealer {
    Sealer::start(recipients, &mut random()).expect("a key of our own wraps").0
}

/// 1,000 calls in turn, as a thread sees them: each write finds another call's page.
fn writes(c: &mut Criterion) {
    let mut group = c.benchmark_group("write");
    let recipients = x25519();
    let plain = [0x55; WRITE_BYTES];
    group.throughput(Throughput::Elements(WRITES as u64));
    group.bench_function("256 writes of 250 bytes, nothing sealed", |b| {
        let mut pool = PagePool::default();
        b.iter_batched_ref(
            || start(&recipients),
            |sealer| {
                for _ in 0..WRITES {
                    sealer.write(black_box(&plain), &mut pool, &mut |_| ());
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("one of 1,000 calls in turn, sealing included", |b| {
        let mut pool = PagePool::default();
        let mut sealers: Vec<_> = (0..1000).map(|_| start(&recipients)).collect();
        // Not all at the same place, or all would seal in the same round.
        for (number, sealer) in sealers.iter_mut().enumerate() {
            sealer.write(&vec![0; number * 65], &mut pool, &mut |_| ());
        }
        let mut at = 0;
        b.iter(|| {
            sealers[at].write(black_box(&plain), &mut pool, &mut |chunk| drop(black_box(chunk)));
            at = (at + 1) % 1000;
        });
    });
    group.throughput(Throughput::Bytes(1 << 20));
    group.bench_function("one call, 1 MiB at once", |b| {
        let mut pool = PagePool::default();
        let mut sealer = start(&recipients);
        let plain = vec![0x55; 1 << 20];
        b.iter(|| sealer.write(black_box(&plain), &mut pool, &mut |chunk| drop(black_box(chunk))));
    });
    group.finish();
}

fn starts(c: &mut Criterion) {
    let mut group = c.benchmark_group("start");
    let hybrid = recipients(|random| generate_hybrid(random).1);
    let x25519 = x25519();
    group.bench_function("one X25519 recipient", |b| b.iter(|| start(&x25519)));
    group.bench_function("one hybrid recipient", |b| b.iter(|| start(&hybrid)));
    group.finish();
}

fn receipts(c: &mut Criterion) {
    c.bench_function("log: append a receipt of 700 bytes", |b| {
        let mut log = Log::new();
        b.iter(|| {
            log.append(black_box(&[0x55; 700])).expect("700 bytes fit");
            if log.size().is_multiple_of(1000) {
                black_box(log.files_changed());
            }
        });
    });
}

criterion_group!(benches, writes, starts, receipts);
criterion_main!(benches);
