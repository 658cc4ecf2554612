use std::ops::RangeInclusive;

use super::*;

const NOW: u64 = 1_795_000_000_000;

fn covers(pieces: &[String], time: u64) -> usize {
    let name = format!("{time:015}");
    pieces.iter().filter(|piece| name.starts_with(piece.as_str())).count()
}

#[test]
fn pieces_cover_each_time_once() {
    let all = pieces(&(0..=u64::MAX), NOW);
    for time in [0, 1, 999, BEGINNING - 1, BEGINNING, NOW - 1, NOW, NOW + 1, 999_999_999_999_999] {
        assert_eq!(covers(&all, time), 1, "{time}");
    }
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "in order");
    assert!(all.len() < 700, "{}", all.len());
}

#[test]
fn pieces_of_a_range_are_few() {
    let hour = pieces(&(NOW - 3_600_000..=NOW), NOW);
    assert!(hour.len() <= 5, "{hour:?}");
    assert_eq!(covers(&hour, NOW - 3_600_000), 1);
    assert_eq!(covers(&hour, NOW), 1);
    assert_eq!(pieces(&RangeInclusive::new(5, 4), NOW), Vec::<String>::new());
}

#[test]
fn a_clock_before_2026_loses_nothing() {
    let all = pieces(&(0..=u64::MAX), 1_000);
    assert_eq!(covers(&all, 1_000), 1);
    assert_eq!(covers(&all, NOW), 1);
}
