//! What the core costs a device: a step of the swarm, control messages in and out, and a signed document.
//!
//! `cargo bench -p fullmetal-proto`; a name as an argument runs those benches that have it in theirs.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

mod fleet;

use criterion::Criterion;
use fleet::{Device, PEERS, PIECES, manifest, name, update};
use fullmetal_proto::Timestamp;
use fullmetal_proto::swarm::Input;
use fullmetal_proto::wire::transfer::{CONTROL_ITEMS_MAX, CONTROL_LEN_MAX, Control};
use fullmetal_proto::wire::{Announcement, Mode, PublicKey, Row, SigningKey, cbor, open, seal};
use std::hint::black_box;
use std::time::{Duration, Instant};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    swarm(&mut criterion);
    codec(&mut criterion);
    signatures(&mut criterion);
    criterion.final_summary();
}

/// Times steps of a device in the middle of a release; where it is done another one, which is not timed, goes on.
fn in_a_release(device: &mut Device, steps: u64, mut step: impl FnMut(&mut Device) -> Duration) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..steps {
        if device.is_done() {
            *device = Device::in_the_middle();
        }
        total += step(device);
    }
    total
}

fn timed(step: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    step();
    begun.elapsed()
}

fn swarm(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("swarm, {PIECES} pieces, {PEERS} peers"));
    let mut device = Device::in_the_middle();
    let mut steps = |name: &str, next: fn(&mut Device) -> Input| {
        let mut step = |device: &mut Device| {
            let (input, now) = (next(device), device.later());
            timed(|| device.take(input, now))
        };
        group.bench_function(name, |b| b.iter_custom(|steps| in_a_release(&mut device, steps, &mut step)));
    };
    steps("a piece is verified, and the next is asked for", Device::next_verified);
    steps("a neighbour says what it has", Device::next_update);
    steps("bytes of a piece have come", Device::next_progress);
    group.finish();
}

fn codec(criterion: &mut Criterion) {
    let message = Control::Swarm(update((0..32).map(|number| (number, 1))));
    let bytes = cbor::to_vec(&message);
    let mut group = criterion.benchmark_group(format!("control message of 32 statuses, {} bytes", bytes.len()));
    group.bench_function("encode", |b| b.iter(|| cbor::to_vec(black_box(&message))));
    group.bench_function("decode", |b| {
        b.iter(|| cbor::from_slice_of_items::<Control>(black_box(&bytes), CONTROL_LEN_MAX, CONTROL_ITEMS_MAX).unwrap());
    });
    group.finish();
}

fn signatures(criterion: &mut Criterion) {
    let key = SigningKey::from_bytes(&[3; 32]);
    let bytes = seal(&announcement(), &[&key]).unwrap();
    let public = PublicKey::of(&key);
    let mut group = criterion.benchmark_group(format!("announcement to {PEERS} devices, {} bytes", bytes.len()));
    group.bench_function("open", |b| b.iter(|| open::<Announcement>(black_box(&bytes)).unwrap()));
    group.bench_function("open and check its signature", |b| {
        b.iter(|| {
            let opened = open::<Announcement>(black_box(&bytes)).unwrap();
            assert_eq!(opened.envelope.signers([&public]).len(), 1);
        });
    });
    group.bench_function("sign", |b| b.iter(|| seal(black_box(&announcement()), &[&key]).unwrap()));
    group.finish();
}

/// One bundle of one app, for everybody.
fn announcement() -> Announcement {
    let (issued, expires) = (Timestamp::from_secs(1_795_528_440), Timestamp::from_secs(1_800_000_000));
    let bundle = serde_bytes::ByteBuf::from(manifest().as_bytes().repeat(32));
    let rows = (0..PEERS).map(|number| Row(name(number), 0, u64::from(number), Mode::Now, None)).collect();
    Announcement {
        fleet: "plant-7".parse().unwrap(),
        epoch: 1,
        counter: 7,
        issued,
        expires,
        bundles: vec![bundle],
        rows,
    }
}
