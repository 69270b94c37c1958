//! Challenges that count, and the many ways in which one does not.

use proptest::prelude::*;

use super::*;

const NOW: Time = Time(1_790_000_000_000);
const NONCE: &str = "v1.a.b";

fn keeper() -> Keeper {
    Keeper::new([7; 32], 0)
}

fn blog() -> ServiceName {
    "blog".parse().unwrap()
}

fn bound<'a>(service: &'a ServiceName, host: &'a str, nonce: &'a str) -> Bound<'a> {
    Bound {
        service,
        host,
        nonce,
    }
}

fn check(challenge: &str, answer: &str, now: Time) -> Result<Task, ChallengeError> {
    let blog = blog();
    keeper().solved(bound(&blog, "blog.test", NONCE), challenge, answer, now)
}

fn given(task: Task) -> String {
    let blog = blog();
    keeper().challenge(bound(&blog, "blog.test", NONCE), task, NOW)
}

#[test]
fn work_is_proven_by_a_number_and_by_no_other() {
    let challenge = given(Task::Work(12));
    let number = solve(&challenge, 12);
    assert_eq!(
        check(&challenge, &number.to_string(), NOW),
        Ok(Task::Work(12))
    );
    for wrong in [
        String::new(),
        (number + 1).to_string(),
        format!("+{number}"),
        format!(" {number}"),
        format!("{number}.0"),
        format!("{}{number}", "0".repeat(21)),
        "18446744073709551616".into(),
        "-1".into(),
        "x".into(),
    ] {
        let unsolved = Err(ChallengeError::Unsolved);
        assert_eq!(check(&challenge, &wrong, NOW), unsolved, "{wrong:?}");
    }
}

#[test]
fn a_number_for_less_work_is_not_enough() {
    let challenge = given(Task::Work(20));
    // The smallest number with 4 bits has 20 in one of 65,536 cases; this one has not.
    let easy = solve(&challenge, 4).to_string();
    let unsolved = Err(ChallengeError::Unsolved);
    assert_eq!(check(&challenge, &easy, NOW), unsolved);
}

#[test]
fn the_bits_of_a_hash_are_counted_from_its_beginning() {
    let mut hash = [0; 32];
    assert_eq!(zero_bits(&hash), 256);
    hash[31] = 1;
    assert_eq!(zero_bits(&hash), 255);
    hash[2] = 0x10;
    assert_eq!(zero_bits(&hash), 19);
    hash[0] = 0x80;
    assert_eq!(zero_bits(&hash), 0);
}

#[test]
fn the_work_is_what_other_programs_and_the_page_take_it_for() {
    // The number was found by another program, with another SHA-256.
    let number = solve("c1.p.1.4.x", 8);
    let hash = work(&Sha256::digest("c1.p.1.4.x").into(), number);
    assert_eq!((hash[0], number), (0, 723), "{hash:?}");
}

#[test]
fn a_mate_is_proven_by_its_move_and_by_no_other() {
    // White mates with f7-c7 in the third position of the list.
    let position = Position::nth(2);
    let challenge = given(Task::Mate(position));
    for right in ["Qc7", "f7c7", "qc7#"] {
        assert_eq!(check(&challenge, right, NOW), Ok(Task::Mate(position)));
    }
    for wrong in ["", "Qc8", "Qe8", "f7", "f7c7f7c7", "2k3n1/5Q2", "Qc7;"] {
        let unsolved = Err(ChallengeError::Unsolved);
        assert_eq!(check(&challenge, wrong, NOW), unsolved, "{wrong:?}");
    }
    let late = check(&challenge, "Qc7", NOW + LIVES + Span(1));
    assert_eq!(late, Err(ChallengeError::Expired));
    let other = challenge.replace(".m.", ".w.");
    assert_eq!(check(&other, "Qc7", NOW), Err(ChallengeError::Forged));
    let swapped = challenge.replacen(".2.", ".3.", 1);
    assert_ne!(swapped, challenge);
    assert_eq!(check(&swapped, "Qc7", NOW), Err(ChallengeError::Forged));
}

#[test]
fn a_wait_is_solved_by_coming_back_later() {
    let challenge = given(Task::Wait(Span::secs(10)));
    let early = check(&challenge, "", NOW + Span::millis(9_999));
    assert_eq!(early, Err(ChallengeError::Early(Span(1))));
    let waited = Ok(Task::Wait(Span::secs(10)));
    assert_eq!(check(&challenge, "", NOW + Span::secs(10)), waited);
    assert_eq!(check(&challenge, "anything", NOW + LIVES), waited);
    let late = check(&challenge, "", NOW + LIVES + Span(1));
    assert_eq!(late, Err(ChallengeError::Expired));
}

#[test]
fn a_challenge_counts_for_one_service_host_and_nonce() {
    let (blog, shop): (_, ServiceName) = (blog(), "shop".parse().unwrap());
    let challenge = given(Task::Work(0));
    let at =
        |service, host, nonce| keeper().solved(bound(service, host, nonce), &challenge, "0", NOW);
    assert_eq!(at(&blog, "blog.test", NONCE), Ok(Task::Work(0)));
    let forged = Err(ChallengeError::Forged);
    assert_eq!(at(&shop, "blog.test", NONCE), forged);
    assert_eq!(at(&blog, "www.blog.test", NONCE), forged);
    assert_eq!(at(&blog, "blog.test", "v1.a.c"), forged);
    let other = Keeper::new([8; 32], 0);
    let there = other.solved(bound(&blog, "blog.test", NONCE), &challenge, "0", NOW);
    assert_eq!(there, forged);
}

#[test]
fn a_challenge_of_the_future_is_none() {
    let challenge = given(Task::Work(0));
    assert_eq!(check(&challenge, "0", NOW - AHEAD), Ok(Task::Work(0)));
    let early = check(&challenge, "0", NOW - AHEAD - Span(1));
    assert_eq!(early, Err(ChallengeError::Expired));
}

#[test]
fn nobody_makes_a_challenge_easier() {
    let hard = given(Task::Work(20));
    let (body, seal) = hard.rsplit_once('.').unwrap();
    let eased = body.replace(".14", ".0");
    assert_ne!(eased, body);
    let forged = Err(ChallengeError::Forged);
    assert_eq!(check(&format!("{eased}.{seal}"), "0", NOW), forged);
    let other = body.replace(".p.", ".w.");
    assert_eq!(check(&format!("{other}.{seal}"), "0", NOW), forged);
}

#[test]
fn what_is_not_of_our_form_is_malformed() {
    let good = given(Task::Work(0));
    for text in [
        "",
        "c1",
        "c1.p.1.1",
        "c1.x.1.1.seal",
        "c1.p.1.100.seal",
        "c1.p.+1.1.seal",
        "c1.m.1.320.seal",
        "c1.m.1.ffffffffffffffff.seal",
        "c1.p.1.1.1.seal",
        "c2.p.1.1.seal",
        &good.to_uppercase(),
        &format!("{good} "),
        &format!("{good}{}", "a".repeat(60)),
    ] {
        let found = check(text, "0", NOW);
        let refused = matches!(
            found,
            Err(ChallengeError::Malformed | ChallengeError::Forged)
        );
        assert!(refused, "{text:?}: {found:?}");
    }
    let longest = keeper().challenge(
        bound(&blog(), "blog.test", NONCE),
        Task::Wait(Span(u64::MAX)),
        Time(u64::MAX),
    );
    assert!(longest.len() <= LENGTH_MAX);
}

proptest! {
    #[test]
    fn a_mutated_challenge_is_never_solved(
        place in any::<prop::sample::Index>(),
        with in any::<char>(),
        how in 0..3u8,
    ) {
        let challenge = given(Task::Work(0));
        let mut mutated: Vec<char> = challenge.chars().collect();
        let place = place.index(mutated.len());
        match how {
            0 => mutated[place] = with,
            1 => mutated.insert(place, with),
            _ => { mutated.remove(place); }
        }
        let mutated: String = mutated.into_iter().collect();
        prop_assume!(mutated != challenge);
        prop_assert!(check(&mutated, "0", NOW).is_err());
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,80}", answer in ".{0,40}", at in any::<u64>()) {
        prop_assert!(check(&text, &answer, Time(at)).is_err());
    }
}
