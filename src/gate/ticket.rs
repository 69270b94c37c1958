//! A ticket: the number of somebody who waits for one wake of one service, sealed.
//!
//! `t1.<when the wake began, hex ms>.<number, hex>.<seal>`. Nothing is stored for it. It says nothing of its holder, and
//! it lets nobody in by itself: what a number is worth, and how often, is for [`engine::ramp`](crate::engine::ramp) to say.

use super::nonce::Keeper;
use crate::engine::id::ServiceName;
use crate::engine::time::Time;

const PURPOSE: &str = "anteroom turn ticket v1";

/// `t1..`, two times 16 hex digits, the points and the seal are 58.
const LENGTH_MAX: usize = 60;

impl Keeper {
    /// The ticket of this number.
    #[must_use]
    pub fn ticket(&self, service: &ServiceName, wake: Time, number: u64) -> String {
        let body = format!("t1.{:x}.{number:x}", wake.0);
        let seal = self.seal(PURPOSE, &[service.as_str().as_bytes(), body.as_bytes()]);
        format!("{body}.{seal}")
    }

    /// The number of a ticket of ours for this wake; none where it is anything else.
    #[must_use]
    pub fn number(&self, service: &ServiceName, wake: Time, ticket: &str) -> Option<u64> {
        let (body, seal) = ticket
            .rsplit_once('.')
            .filter(|_| ticket.len() <= LENGTH_MAX)?;
        let number = body.rsplit_once('.')?.1;
        let number = u64::from_str_radix(number, 16).ok()?;
        // The whole text is what we would have written: two texts for one number would be two tickets.
        let ours = body == format!("t1.{:x}.{number:x}", wake.0);
        let parts = [service.as_str().as_bytes(), body.as_bytes()];
        (ours && self.is_sealed(PURPOSE, &parts, seal)).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WAKE: Time = Time(1_790_000_000_000);

    fn keeper() -> Keeper {
        Keeper::new([7; 32], 1)
    }

    fn blog() -> ServiceName {
        "blog".parse().unwrap()
    }

    #[test]
    fn a_ticket_is_of_one_number_one_wake_one_service_and_one_key() {
        for number in [0, 9, 10, 255, u64::MAX] {
            let ticket = keeper().ticket(&blog(), WAKE, number);
            assert!(ticket.len() <= LENGTH_MAX, "{ticket}");
            assert_eq!(keeper().number(&blog(), WAKE, &ticket), Some(number));
            let shop = "shop".parse().unwrap();
            assert_eq!(keeper().number(&shop, WAKE, &ticket), None);
            assert_eq!(keeper().number(&blog(), Time(WAKE.0 + 1), &ticket), None);
            let other = Keeper::new([8; 32], 1);
            assert_eq!(other.number(&blog(), WAKE, &ticket), None);
        }
    }

    #[test]
    fn a_ticket_that_was_changed_is_none() {
        let ticket = keeper().ticket(&blog(), WAKE, 26);
        let (body, seal) = ticket.rsplit_once('.').unwrap();
        let begin = body.strip_suffix("1a").unwrap();
        for text in [
            String::new(),
            "t1".into(),
            body.to_owned(),
            format!("{begin}19.{seal}"),
            format!("{begin}1A.{seal}"),
            format!("{begin}01a.{seal}"),
            format!("{begin}+1a.{seal}"),
            format!("{ticket}."),
            format!("{ticket}A"),
            format!(" {ticket}"),
            ticket.replacen("t1", "t2", 1),
            ticket.to_uppercase(),
        ] {
            assert_eq!(keeper().number(&blog(), WAKE, &text), None, "{text}");
        }
        // What is sealed for another purpose is no ticket.
        let parts: [&[u8]; 2] = [b"blog", body.as_bytes()];
        let other = keeper().seal("anteroom challenge v1", &parts);
        assert_eq!(
            keeper().number(&blog(), WAKE, &format!("{body}.{other}")),
            None
        );
    }

    proptest! {
        #[test]
        fn no_text_at_all_makes_it_panic(text in "\\PC{0,70}") {
            prop_assert_eq!(keeper().number(&blog(), WAKE, &text), None);
        }
    }
}
