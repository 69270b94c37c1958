//! Alerts: with samples they decide nothing, without them they are one step each.

use super::*;

fn alert(name: u64, direction: Direction, at: Time, firing: bool) -> Alert {
    Alert {
        name,
        direction,
        at,
        firing,
    }
}

/// A service whose only signal are alerts.
fn blind(instances: u16, max: u16) -> Shop {
    let only = Terms {
        max,
        alerts_only: true,
        ..terms()
    };
    Shop::new(instances, only)
}

fn wait(shop: &mut Shop, span: Span) {
    for _ in 0..span.0 / 15_000 {
        shop.pass(Span::secs(15));
        shop.follow();
    }
}

#[test]
fn where_there_are_samples_an_alert_only_says_look_now() {
    let mut shop = Shop::new(3, terms());
    shop.load = 15_000;
    shop.tick_for(Span::mins(20));
    let now = shop.now;
    assert!(shop.scaler.alerted(alert(1, Direction::Up, now, true), now));
    assert!(
        shop.scaler
            .alerted(alert(2, Direction::Down, now, true), now)
    );
    shop.tick_for(Span::mins(30));
    assert_eq!(shop.steps, NONE);
}

#[test]
fn a_sustained_alert_takes_one_step_after_each_cooldown() {
    let mut shop = blind(1, 9);
    let now = shop.now;
    shop.scaler.alerted(alert(1, Direction::Up, now, true), now);
    shop.follow();
    assert_eq!(shop.steps, [2]);
    wait(&mut shop, Span::secs(165));
    assert_eq!(shop.steps, [2]);
    wait(&mut shop, Span::mins(6));
    assert_eq!(shop.steps, [2, 3, 4]);
    let over = shop.now;
    assert!(
        !shop
            .scaler
            .alerted(alert(1, Direction::Up, now, false), over)
    );
    wait(&mut shop, Span::mins(60));
    assert_eq!(shop.steps, [2, 3, 4]);
    assert_eq!(shop.ask().why, Why::NoAlert);
}

#[test]
fn no_step_is_taken_while_the_last_one_starts() {
    let mut shop = blind(1, 9);
    shop.boot = Span::mins(10);
    let now = shop.now;
    shop.scaler.alerted(alert(1, Direction::Up, now, true), now);
    shop.follow();
    wait(&mut shop, Span::mins(9));
    assert_eq!(shop.steps, [2]);
    assert_eq!(shop.ask().why, Why::Starting { starting: 1 });
    wait(&mut shop, Span::mins(2));
    assert_eq!(shop.steps, [2, 3]);
}

#[test]
fn a_step_that_cannot_be_taken_yet_is_still_wanted_and_no_more() {
    let mut shop = blind(1, 9);
    let now = shop.now;
    shop.scaler.alerted(alert(1, Direction::Up, now, true), now);
    for _ in 0..40 {
        shop.pass(Span::secs(15));
        assert_eq!(shop.ask().wanted, 2);
    }
}

#[test]
fn a_thousand_replays_change_nothing_more() {
    let mut shop = blind(1, 9);
    let (start, fires) = (shop.now, alert(1, Direction::Up, shop.now, true));
    assert!(shop.scaler.alerted(fires, start));
    shop.follow();
    let over = alert(1, Direction::Up, start, false);
    shop.scaler.alerted(over, start);
    for _ in 0..1_000 {
        shop.pass(Span::secs(15));
        assert!(!shop.scaler.alerted(fires, shop.now));
        assert!(!shop.scaler.alerted(over, shop.now));
        shop.follow();
    }
    assert_eq!(shop.steps, [2]);
}

#[test]
fn an_end_that_overtakes_its_beginning_ends_it() {
    let mut shop = blind(1, 9);
    let now = shop.now;
    assert!(
        !shop
            .scaler
            .alerted(alert(1, Direction::Up, now, false), now)
    );
    assert!(!shop.scaler.alerted(alert(1, Direction::Up, now, true), now));
    assert_eq!(shop.ask().why, Why::NoAlert);
}

#[test]
fn the_end_of_an_earlier_firing_does_not_end_the_next() {
    let mut shop = blind(1, 9);
    let now = shop.now;
    shop.scaler.alerted(alert(1, Direction::Up, now, true), now);
    shop.scaler
        .alerted(alert(1, Direction::Up, now - Span::mins(5), false), now);
    shop.follow();
    assert_eq!(shop.steps, [2]);
}

#[test]
fn an_alert_whose_end_was_lost_is_not_trusted_for_ever() {
    let mut shop = blind(1, 500);
    let now = shop.now;
    shop.scaler.alerted(alert(1, Direction::Up, now, true), now);
    wait(&mut shop, Span::mins(60 * 24));
    assert_eq!(shop.have(), 21);
    shop.terms.cooldown = Span::mins(30);
    assert_eq!(shop.ask().why, Why::NoAlert);
    assert!(
        !shop
            .scaler
            .alerted(alert(1, Direction::Up, now, true), shop.now)
    );
}

#[test]
fn an_alert_of_the_future_is_not_believed() {
    let mut shop = blind(1, 9);
    let now = shop.now;
    let ahead = alert(1, Direction::Up, now + Span::mins(2), true);
    assert!(!shop.scaler.alerted(ahead, now));
    assert_eq!(shop.ask().why, Why::NoAlert);
}

#[test]
fn up_wins_over_down_and_both_keep_within_the_bounds() {
    let mut shop = blind(2, 3);
    let now = shop.now;
    shop.scaler
        .alerted(alert(1, Direction::Down, now, true), now);
    shop.scaler.alerted(alert(2, Direction::Up, now, true), now);
    wait(&mut shop, Span::mins(20));
    assert_eq!(shop.steps, [3]);
    let direction = Direction::Up;
    assert_eq!(shop.ask().why, Why::AlertAtEnd { direction });
    shop.scaler
        .alerted(alert(2, direction, now, false), shop.now);
    wait(&mut shop, Span::mins(20));
    assert_eq!(shop.steps, [3, 2, 1]);
}

#[test]
fn however_many_alerts_there_are_they_take_little_room() {
    let mut shop = blind(1, 9);
    let now = shop.now;
    for name in 0..10_000 {
        shop.scaler
            .alerted(alert(name, Direction::Up, now, true), now);
    }
    assert!(format!("{:?}", shop.scaler).len() < 4_000);
}

#[test]
fn the_end_of_trust_is_a_moment_to_look_again() {
    let mut shop = blind(1, 1_000);
    let now = shop.now;
    shop.scaler.alerted(alert(1, Direction::Up, now, true), now);
    shop.follow();
    let due = shop.scaler.due(now, &shop.terms);
    assert_eq!(due, Some(now + Span::mins(3)));
    let due = shop.scaler.due(now + Span::mins(3), &shop.terms);
    assert_eq!(due, Some(now + Span::mins(60)));
}
