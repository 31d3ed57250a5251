//! MAP-Elites insertion and drawing against the plain version.

use mirage_core::archive::{Archive, Cell, Origin};
use mirage_core::genome::Direct;
use mirage_core::rng::Stream;
use proptest::prelude::*;
use reference::archive::Elites;
use reference::property::config;
use reference::statistics::{chi_square, chi_square_limit};

type Byte = Direct<[u8; 1]>;

fn empty(classes: usize) -> Archive<Byte, Vec<Cell<Byte>>> {
    Archive::new((0..classes).map(|_| None).collect())
}

/// Confidences with many ties, zeros of both signs, and NaNs.
fn score() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => (0..8u8).prop_map(|v| f32::from(v) / 8.0),
        2 => 0.0..=1.0f32,
        1 => Just(f32::NAN),
        1 => Just(-0.0f32),
    ]
}

proptest! {
    #![proptest_config(config("archive", 2_000))]

    #[test]
    fn insertion_equals_the_reference(
        (classes, children) in (1..12usize).prop_flat_map(|n| {
            (Just(n), prop::collection::vec(prop::collection::vec(score(), n), 0..60))
        }),
    ) {
        let (mut core, mut plain) = (empty(classes), Elites::new(classes));
        for (id, scores) in children.iter().enumerate() {
            let id = id as u64;
            let before = plain.clone();
            let origin = Origin { id, generation: 0, parents: [None, None] };
            let mut taken = Vec::new();
            let mut displaced = Vec::new();
            core.insert(origin, &Direct::new([id as u8]), scores, |takeover| {
                taken.push(takeover.class);
                displaced.push(takeover.displaced.map(|origin| origin.id));
            });
            prop_assert_eq!(&taken, &plain.offer(id, scores));
            let losers: Vec<_> =
                taken.iter().map(|&class| before.0[class].map(|(id, _)| id)).collect();
            prop_assert_eq!(displaced, losers);
            for (cell, expected) in core.cells().iter().zip(&plain.0) {
                let found = cell.as_ref().map(|elite| (elite.origin.id, elite.confidence));
                prop_assert_eq!(found, *expected);
                if let Some(elite) = cell {
                    prop_assert_eq!(elite.genome.pixels()[0], elite.origin.id as u8);
                }
            }
        }
    }
}

/// An elite of k cells has k of the tickets; empty cells have none.
#[test]
fn draws_are_uniform_over_occupied_cells() {
    let mut archive = empty(10);
    let origin = |id| Origin { id, generation: 0, parents: [None, None] };
    let mut scores = [0.5; 10];
    scores[7] = f32::NAN;
    archive.insert(origin(0), &Direct::new([0]), &scores, |_| {});
    archive.insert(origin(1), &Direct::new([1]), &[0.9, 0.9, 0.9, 0.1], |_| {});
    let mut rng = Stream::new(11, 0, 0);
    let (mut classes, mut ids) = ([0u64; 10], [0u64; 2]);
    for _ in 0..90_000 {
        let (class, elite) = archive.draw(&mut rng).expect("occupied cells");
        classes[class] += 1;
        ids[elite.origin.id as usize] += 1;
    }
    assert_eq!(classes[7], 0);
    let occupied: Vec<u64> = classes.into_iter().filter(|&count| count > 0).collect();
    assert!(chi_square(&occupied, &[10_000.0; 9]) < chi_square_limit(8.0), "{classes:?}");
    assert!(chi_square(&ids, &[60_000.0, 30_000.0]) < chi_square_limit(1.0), "{ids:?}");
    let one_ticket_each = chi_square(&ids, &[45_000.0, 45_000.0]);
    assert!(one_ticket_each > chi_square_limit(1.0), "the test tells tickets from elites");
}
