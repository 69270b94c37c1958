//! A position of chess as a page shows it: a table whose squares are named, men that are drawn in the page, a field for
//! the move, and a script that writes into the field which squares were pressed.

use std::sync::LazyLock;

use serde::Serialize;

use crate::engine::chess::{Man, Position, Square};
use crate::page::dress;
use crate::page::lang::Lang;
use crate::page::text::Text;

/// How the board looks.
pub(super) const STYLE: &str = include_str!("../../../templates/chess.css");

/// Its hands.
pub(super) static SCRIPT: LazyLock<String> =
    LazyLock::new(|| dress::sent(include_str!("../../../templates/chess.js")));

/// What the template needs.
#[derive(Serialize)]
pub(super) struct Board<'a> {
    /// What is sent back with the move.
    pub(super) challenge: &'a str,
    /// The name of the board.
    pub(super) caption: &'a str,
    /// The letters of the files.
    pub(super) files: Vec<char>,
    /// From the eighth rank to the first.
    pub(super) rows: Vec<Row>,
    /// Every man with its square, in words.
    pub(super) men: String,
    /// The name of the field.
    pub(super) step: &'a str,
    /// How a move is written.
    pub(super) hint: &'a str,
    /// The button.
    pub(super) play: &'a str,
    /// How it looks.
    pub(super) style: &'static str,
    /// Its hands.
    pub(super) script: &'static str,
}

/// One rank.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) rank: char,
    pub(super) squares: Vec<Cell>,
}

/// One square.
#[derive(Serialize)]
pub(super) struct Cell {
    /// As players call it.
    pub(super) name: String,
    pub(super) dark: bool,
    pub(super) man: Option<Figure>,
}

/// Who stands on a square.
#[derive(Serialize)]
pub(super) struct Figure {
    pub(super) white: bool,
    /// The English letter, a small one: what the drawing is called.
    pub(super) letter: char,
    /// The same as it is written where nothing is drawn: a great one for White.
    pub(super) sign: char,
    /// The man and the square, in words.
    pub(super) label: String,
}

impl<'a> Board<'a> {
    /// The board of this position.
    pub(super) fn of(lang: Lang, challenge: &'a str, position: Position) -> Board<'a> {
        let text = lang.text();
        let words = &text.challenge.chess;
        let board = position.board();
        let mut rows: Vec<Row> = Vec::new();
        let (mut white, mut black) = (Vec::new(), Vec::new());
        for (square, man) in board.squares() {
            let label = |man: Man| format!("{} {square}", named(text, man));
            if let Some(man) = man {
                let side = match man.white {
                    true => &mut white,
                    false => &mut black,
                };
                side.push((man.kind as usize, label(man)));
            }
            if square.file == 0 {
                rows.push(Row {
                    rank: square.rank_digit(),
                    squares: Vec::new(),
                });
            }
            let cell = Cell {
                name: square.to_string(),
                dark: (square.file + square.rank) % 2 == 0,
                man: man.map(|man| Figure {
                    white: man.white,
                    letter: man.kind.letter(),
                    sign: man.sign(),
                    label: label(man),
                }),
            };
            if let Some(row) = rows.last_mut() {
                row.squares.push(cell);
            }
        }
        let row = (0..8).map(|file| Square { file, rank: 0 });
        Board {
            challenge,
            caption: &words.board,
            files: row.map(Square::file_letter).collect(),
            rows,
            men: told(white) + "; " + &told(black),
            step: &words.step,
            hint: &words.hint,
            play: &words.play,
            style: STYLE,
            script: &SCRIPT,
        }
    }
}

fn named(text: &Text, man: Man) -> &str {
    let words = &text.challenge.chess;
    let side = match man.white {
        true => &words.white,
        false => &words.black,
    };
    &side[man.kind as usize]
}

/// The king first, the pawns last.
fn told(mut men: Vec<(usize, String)>) -> String {
    men.sort_by_key(|(kind, _)| *kind);
    let labels: Vec<String> = men.into_iter().map(|(_, label)| label).collect();
    labels.join(", ")
}
