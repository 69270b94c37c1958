//! The positions of chess that a challenge asks for: proven by a library that knows the rules, and made with it. With
//! `ANTEROOM_BLESS=1` the list is written anew.
//!
//! They are found in games of two players who move by chance and take what they can: where few men are left, White has
//! one move that mates and no other, and checks that lead astray.

use std::collections::BTreeSet;
use std::path::Path;

use anteroom::engine::chess::Position;
use cozy_chess::{BitBoard, Board, Color, GameStatus, Move, Piece};

/// How many of each: mates by the queen, a rook, a bishop, a knight, a pawn, the king, and by a pawn that becomes a queen.
const WANTED: [usize; 7] = [120, 100, 45, 70, 25, 10, 30];

/// With the whole list, so many lines are made anew by every test.
const LOOKED_AT: usize = 10;

const MOVES_MAX: usize = 240;

/// Numbers by chance, the same at every run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % sides as u64).unwrap()
    }
}

fn moves(board: &Board) -> Vec<Move> {
    let mut all = Vec::new();
    board.generate_moves(|some| {
        all.extend(some);
        false
    });
    all
}

fn after(board: &Board, step: Move) -> Board {
    let mut board = board.clone();
    board.play(step);
    board
}

fn mates(board: &Board) -> Vec<Move> {
    let won = |step: &Move| after(board, *step).status() == GameStatus::Won;
    moves(board).into_iter().filter(won).collect()
}

/// The move that mates, where it is alone, and the position one that people like to look at.
fn is_a_puzzle(board: &Board) -> Option<Move> {
    let men = board.occupied().len();
    if board.side_to_move() != Color::White || !(6..=13).contains(&men) {
        return None;
    }
    if board.colors(Color::Black).len() < 3 || !(10..=45).contains(&moves(board).len()) {
        return None;
    }
    let checks = |step: &Move| after(board, *step).checkers() != BitBoard::EMPTY;
    let checks = moves(board).into_iter().filter(checks).count();
    match mates(board)[..] {
        [mate] if checks >= 3 => Some(mate),
        _ => None,
    }
}

fn kind_of(board: &Board, step: Move) -> usize {
    match (step.promotion, board.piece_on(step.from)) {
        (Some(_), _) => 6,
        (None, Some(Piece::Queen)) => 0,
        (None, Some(Piece::Rook)) => 1,
        (None, Some(Piece::Bishop)) => 2,
        (None, Some(Piece::Knight)) => 3,
        (None, Some(Piece::Pawn)) => 4,
        (None, Some(Piece::King)) => 5,
        (None, None) => panic!("somebody moves"),
    }
}

/// No castling and nothing to take in passing: then a mirror changes nothing, and the men alone say all.
fn is_plain(board: &Board) -> bool {
    let rights = [Color::White, Color::Black].map(|colour| *board.castle_rights(colour));
    let none = |rights: &cozy_chess::CastleRights| rights.short.is_none() && rights.long.is_none();
    rights.iter().all(none) && board.en_passant().is_none()
}

fn made(lines: usize) -> Vec<String> {
    let (mut dice, mut made, mut seen) = (Dice(14), Vec::new(), BTreeSet::new());
    let mut tally = [0; WANTED.len()];
    while made.len() < lines {
        let mut board = Board::default();
        for _ in 0..MOVES_MAX {
            let all = moves(&board);
            if all.is_empty() {
                break;
            }
            if let Some(mate) = is_a_puzzle(&board).filter(|_| is_plain(&board)) {
                let (fen, kind) = (board.to_string(), kind_of(&board, mate));
                let men = fen.split(' ').next().unwrap().to_owned();
                if tally[kind] < WANTED[kind] && seen.insert(men.clone()) {
                    tally[kind] += 1;
                    made.push(format!("{men} {mate}"));
                    break;
                }
            }
            let takes = |step: &&Move| board.color_on(step.to) == Some(!board.side_to_move());
            let takes: Vec<Move> = all.iter().filter(takes).copied().collect();
            let some = match !takes.is_empty() && dice.below(3) > 0 {
                true => &takes,
                false => &all,
            };
            let step = some[dice.below(some.len())];
            board.play(step);
        }
    }
    made
}

#[test]
fn the_list_is_what_the_games_bring() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/chess/positions.txt");
    if std::env::var_os("ANTEROOM_BLESS").is_some() {
        let all = made(WANTED.iter().sum());
        std::fs::write(&path, all.join("\n") + "\n").unwrap();
    }
    let list = std::fs::read_to_string(&path).unwrap();
    let first: Vec<&str> = list.lines().take(LOOKED_AT).collect();
    assert_eq!(made(LOOKED_AT), first, "ANTEROOM_BLESS=1 writes the list");
    let different: BTreeSet<&str> = list.lines().collect();
    assert_eq!(different.len() as u64 * 2, Position::COUNT);
}

#[test]
fn in_each_position_one_move_mates_and_it_is_the_only_answer_that_counts() {
    let mut looked_at = 0;
    for number in 0..Position::COUNT {
        let position = Position::nth(number);
        let fen = position.board().fen();
        let board: Board = fen.parse().unwrap_or_else(|why| panic!("{fen}: {why:?}"));
        let [mate] = mates(&board)[..] else {
            panic!("{fen}: {:?}", mates(&board));
        };
        for step in moves(&board) {
            let said = step.to_string();
            assert_eq!(position.is_mate(&said), step == mate, "{fen}: {said}");
            // Without the last letter a pawn becomes a queen.
            if step.promotion == Some(Piece::Queen) {
                assert_eq!(position.is_mate(&said[..4]), step == mate, "{fen}: {said}");
            }
            looked_at += 1;
        }
    }
    assert!(looked_at > 10_000, "{looked_at}");
}
