//! Positions of chess in which White mates with one move, and with one alone: what a service may ask of those who would
//! wake it.
//!
//! No rules of chess are here. They are where the positions are made and proven, in `tests/it/chess_positions.rs`, by a
//! library that knows them; whose tables would weigh 700 kB in the program. So an answer counts when it says that one
//! move, however it is written.

use std::fmt;

/// A line for each: the men as in FEN, and the move that mates.
const POSITIONS: &str = include_str!("chess/positions.txt");

/// How many lines there are.
const LINES: u64 = 400;

/// The longest answer that is looked at, in bytes; a move takes ten.
const SAID_MAX: usize = 24;

/// One position. White is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(u16);

/// The kinds of men.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as they are")]
pub enum Kind {
    King,
    Queen,
    Rook,
    Bishop,
    Knight,
    Pawn,
}

/// One man on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Man {
    /// Whether it is White's.
    pub white: bool,
    /// What it is.
    pub kind: Kind,
}

/// A square, by its file (0 is a) and its rank (0 is the first).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Square {
    /// 0 to 7, from a to h.
    pub file: u8,
    /// 0 to 7, from White's side.
    pub rank: u8,
}

/// The men of a position, by rank and file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board([[Option<Man>; 8]; 8]);

/// A move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Move {
    from: Square,
    to: Square,
    /// Whether it makes a pawn a queen. No position of the list needs another man for it.
    promotes: bool,
}

impl Kind {
    const ALL: [Kind; 6] = [
        Kind::King,
        Kind::Queen,
        Kind::Rook,
        Kind::Bishop,
        Kind::Knight,
        Kind::Pawn,
    ];

    /// Its letter in English, as players write it; a small one.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Kind::King => 'k',
            Kind::Queen => 'q',
            Kind::Rook => 'r',
            Kind::Bishop => 'b',
            Kind::Knight => 'n',
            Kind::Pawn => 'p',
        }
    }

    fn of(letter: char) -> Option<Kind> {
        let fits = |kind: &Kind| kind.letter() == letter.to_ascii_lowercase();
        Kind::ALL.into_iter().find(fits)
    }
}

impl Man {
    /// Its letter: a great one for White, a small one for Black.
    #[must_use]
    pub const fn sign(self) -> char {
        match self.white {
            true => self.kind.letter().to_ascii_uppercase(),
            false => self.kind.letter(),
        }
    }
}

impl Square {
    /// The same from the other side: a for h.
    const fn mirrored(self) -> Square {
        Square {
            file: 7 - self.file,
            rank: self.rank,
        }
    }

    fn of(text: &str) -> Option<Square> {
        let [file, rank] = <[u8; 2]>::try_from(text.as_bytes()).ok()?;
        let within = |letter: u8, first: u8| letter.checked_sub(first).filter(|at| *at < 8);
        Some(Square {
            file: within(file, b'a')?,
            rank: within(rank, b'1')?,
        })
    }

    /// The letter of its file.
    #[must_use]
    pub const fn file_letter(self) -> char {
        (b'a' + self.file) as char
    }

    /// The digit of its rank.
    #[must_use]
    pub const fn rank_digit(self) -> char {
        (b'1' + self.rank) as char
    }
}

impl fmt::Display for Square {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.file_letter(), self.rank_digit())
    }
}

impl Position {
    /// How many there are: each line, and each once more in a mirror, where a stands for h. No position of the list has a right to
    /// castle, so what mates still mates there.
    pub const COUNT: u64 = 2 * LINES;

    /// The one of this number; any number is one. Those that follow each other have nothing in common.
    #[must_use]
    pub const fn nth(number: u64) -> Position {
        Position((number % Position::COUNT) as u16)
    }

    /// The one whose number is exactly this.
    #[must_use]
    pub fn of(number: u64) -> Option<Position> {
        (number < Position::COUNT).then_some(Position::nth(number))
    }

    /// Its number, less than [`Position::COUNT`].
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0 as u64
    }

    fn is_mirrored(self) -> bool {
        self.number() >= LINES
    }

    fn line(self) -> (&'static str, &'static str) {
        let at = usize::from(self.0) % LINES as usize;
        let line = POSITIONS.lines().nth(at);
        let line = line.expect("a test counts the lines");
        line.split_once(' ').expect("a test reads every line")
    }

    /// The men.
    #[must_use]
    pub fn board(self) -> Board {
        let (men, _) = self.line();
        let mut board = Board([[None; 8]; 8]);
        for (rank, row) in (0..8).rev().zip(men.split('/')) {
            let mut file = 0;
            for letter in row.chars() {
                match letter.to_digit(10) {
                    Some(empty) => file += empty as u8,
                    None => {
                        let square = Square { file, rank };
                        let square = match self.is_mirrored() {
                            true => square.mirrored(),
                            false => square,
                        };
                        let white = letter.is_ascii_uppercase();
                        let man = Kind::of(letter).map(|kind| Man { white, kind });
                        *board.place(square) = man;
                        file += 1;
                    }
                }
            }
        }
        board
    }

    /// Whether this says the move that mates: by coordinates (`d1h5`, `Qd1-h5`, `e7e8q`) or as players write it (`Qh5`,
    /// `Qdh5#`, `exd8=Q+`), in any case of letters. A promotion that is not told is one to a queen.
    #[must_use]
    pub fn is_mate(self, said: &str) -> bool {
        if said.len() > SAID_MAX {
            return false;
        }
        // "b1a3" is a way from b1, and "B1a3" that of a bishop on the first rank.
        let by_bishop = said.trim_start().starts_with(['B', '♗', '♝']);
        let said: String = said.chars().filter_map(plain).collect();
        let squares = said.get(..2).and_then(Square::of).is_some()
            && said.get(2..4).and_then(Square::of).is_some();
        let (board, step) = (self.board(), self.mate());
        let kind = board.man(step.from).map(|man| man.kind);
        let (from, to) = (step.from.to_string(), step.to.to_string());
        let letter = kind.map_or(' ', Kind::letter).to_string();
        // Where nobody says which man moves, the whole way must be there; of a pawn that is never said.
        let mut ways = vec![from.clone()];
        if !squares || by_bishop {
            ways.extend(["", &from[..1], &from[1..], &from].map(|place| letter.clone() + place));
        }
        if kind == Some(Kind::Pawn) {
            ways.extend([String::new(), from[..1].to_owned()]);
        }
        let fits = |way: &String| {
            let rest = said.strip_prefix(way.as_str());
            let rest = rest.and_then(|rest| rest.strip_prefix(to.as_str()));
            rest.is_some_and(|rest| rest.is_empty() || (step.promotes && rest == "q"))
        };
        ways.iter().any(fits)
    }

    fn mate(self) -> Move {
        let (_, step) = self.line();
        let square = |text: Option<&str>| {
            let square = text.and_then(Square::of).expect("a test reads every line");
            match self.is_mirrored() {
                true => square.mirrored(),
                false => square,
            }
        };
        Move {
            from: square(step.get(..2)),
            to: square(step.get(2..4)),
            promotes: step.ends_with('q'),
        }
    }
}

impl Board {
    /// Who stands there.
    #[must_use]
    pub fn man(&self, square: Square) -> Option<Man> {
        self.0[usize::from(square.rank & 7)][usize::from(square.file & 7)]
    }

    fn place(&mut self, square: Square) -> &mut Option<Man> {
        &mut self.0[usize::from(square.rank & 7)][usize::from(square.file & 7)]
    }

    /// The squares as they are seen from White's side: from a8 to h8, and down to h1.
    pub fn squares(&self) -> impl Iterator<Item = (Square, Option<Man>)> {
        let all = (0..8)
            .rev()
            .flat_map(|rank| (0..8).map(move |file| Square { file, rank }));
        all.map(|square| (square, self.man(square)))
    }

    /// The position as other programs read it (Forsyth-Edwards Notation), White to move.
    #[must_use]
    pub fn fen(&self) -> String {
        let mut fen = String::with_capacity(64);
        let mut empty = 0;
        let flush = |fen: &mut String, empty: &mut u8| {
            if *empty > 0 {
                fen.push(char::from(b'0' + *empty));
                *empty = 0;
            }
        };
        for (square, man) in self.squares() {
            if square.file == 0 && square.rank < 7 {
                flush(&mut fen, &mut empty);
                fen.push('/');
            }
            match man {
                None => empty += 1,
                Some(man) => {
                    flush(&mut fen, &mut empty);
                    fen.push(man.sign());
                }
            }
        }
        flush(&mut fen, &mut empty);
        fen + " w - - 0 1"
    }
}

/// A letter of a move as it is compared; none for what says nothing: signs for a capture, a check, a mate, praise.
fn plain(letter: char) -> Option<char> {
    match letter {
        '♔' | '♚' => Some('k'),
        '♕' | '♛' => Some('q'),
        '♖' | '♜' => Some('r'),
        '♗' | '♝' => Some('b'),
        '♘' | '♞' => Some('n'),
        '♙' | '♟' => Some('p'),
        'x' | 'X' | '×' | ':' | '-' | '–' | '=' | '+' | '#' | '!' | '?' | '(' | ')' | '/' | '.' => {
            None
        }
        _ if letter.is_whitespace() => None,
        other => Some(other.to_ascii_lowercase()),
    }
}

#[cfg(test)]
mod tests;
