//! How a move may be written. That each position has one that mates, `tests/it/chess_positions.rs` proves.

use proptest::prelude::*;

use super::*;

/// The first position whose line holds this.
fn found(holds: &str) -> Position {
    let at = POSITIONS.lines().position(|line| line.contains(holds));
    let at = at.unwrap_or_else(|| panic!("{holds}: no such position"));
    Position::nth(at.try_into().unwrap())
}

#[test]
fn there_are_as_many_lines_as_it_says_and_each_is_read_and_written_alike() {
    assert_eq!(POSITIONS.lines().count() as u64, LINES);
    for number in 0..Position::COUNT {
        let position = Position::of(number).unwrap();
        assert_eq!(position.number(), number);
        let (board, step) = (position.board(), position.mate());
        let man = board.man(step.from).unwrap();
        assert!(man.white, "{number}: White moves");
        let (from, to) = (step.from.to_string(), step.to.to_string());
        let line = position.line().1;
        let way = format!("{from}{to}{}", if step.promotes { "q" } else { "" });
        assert!(
            way == line || number >= LINES,
            "{way}, and {line} in the list"
        );
        assert!(board.man(step.to).is_none_or(|man| !man.white), "{number}");
        let (line, _) = position.line();
        if number < LINES {
            assert_eq!(board.fen(), format!("{line} w - - 0 1"));
        }
        let mirrored = Position::nth(number + LINES).board();
        for (square, man) in board.squares() {
            assert_eq!(mirrored.man(square.mirrored()), man);
        }
    }
    assert_eq!(Position::of(Position::COUNT), None);
}

#[test]
fn a_move_may_be_written_in_many_ways() {
    let queen = found("2b2k2/5p2/2N5/3p4/5P2/2QP2P1/4P3/4KB2 c3h8");
    for said in [
        "Qh8", "Qh8#", "qh8", "QH8", "Qh8+", "Qh8++", "Qh8!!", " Q h8 ", "c3h8", "c3-h8", "C3 H8",
        "Qc3h8", "Qc3-h8", "Qc3xh8", "Qch8", "Q3h8", "♕h8", "♛h8#", "Q(c3)h8",
    ] {
        assert!(queen.is_mate(said), "{said:?}");
    }
    for said in [
        "",
        "h8",
        "Q",
        "c3",
        "c3h7",
        "Qh7",
        "Kh8",
        "Rh8",
        "Qh8q",
        "Qh8=Q",
        "Qbh8",
        "Q2h8",
        "h8c3",
        "c3h8c3h8",
        "Qh8 or Qh7",
        "Qh8, Qh7",
        "Dh8",
        "0",
        "O-O",
        "Qh٨",
        "\u{0}",
        "Qh8\u{0}",
        "%51h8",
    ] {
        assert!(!queen.is_mate(said), "{said:?}");
    }
    let mirrored = Position::nth(queen.number() + LINES);
    assert!(mirrored.is_mate("Qa8") && mirrored.is_mate("f3a8") && !mirrored.is_mate("Qh8"));
    assert!(!queen.is_mate(&"Qh8".repeat(1_000)));
}

#[test]
fn a_small_b_may_be_a_file_and_a_great_one_is_a_bishop() {
    // White mates with c1-a3, and has a knight on b1.
    let position = found("8/5R2/1p2p3/2k1N3/2P5/4P3/2PP1K2/1NBQ4 c1a3");
    for said in [
        "c1a3", "Ba3", "ba3", "B1a3", "♗1a3", "Bc1a3", "bca3", "C1-A3",
    ] {
        assert!(position.is_mate(said), "{said}");
    }
    for said in ["b1a3", "b1-a3", "Na3", "na3", "N1a3", "a3"] {
        assert!(!position.is_mate(said), "{said}");
    }
}

#[test]
fn a_pawn_is_told_by_its_file_or_not_at_all() {
    let pawn = found("4k3/1B3p2/5P2/2BQ2p1/8/8/3P4/4K3 b7c6");
    assert!(pawn.is_mate("Bc6") && pawn.is_mate("bc6") && !pawn.is_mate("c6"));
    let (line, step) = POSITIONS
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(_, step)| step.ends_with('q') && step[..1] == step[2..3])
        .expect("a promotion on its own file");
    let position = found(line);
    let to = &step[2..4];
    for said in [
        to.to_owned(),
        format!("{to}=Q"),
        format!("{to}Q#"),
        format!("{to}(Q)"),
        format!("{to}/Q"),
        step.to_owned(),
        step[..4].to_owned(),
        format!("P{step}"),
    ] {
        assert!(position.is_mate(&said), "{line}: {said}");
    }
    for wrong in ["r", "b", "n", "k", "p", "qq"] {
        assert!(
            !position.is_mate(&format!("{}{wrong}", &step[..4])),
            "{wrong}"
        );
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(number in any::<u64>(), said in ".{0,40}") {
        let _ = Position::nth(number).is_mate(&said);
    }

    #[test]
    fn the_same_move_in_the_mirror_is_another(number in 0..LINES) {
        let position = Position::nth(number);
        let step = position.mate();
        let mirrored = Move { from: step.from.mirrored(), to: step.to.mirrored(), ..step };
        let said = format!("{}{}", mirrored.from, mirrored.to);
        prop_assert!(!position.is_mate(&said));
    }
}
