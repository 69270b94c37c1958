//! Lists of processors, as the kernel and container engines write them (`cpuset(7)`, List Format).

/// How many processors a list like `0-3,8` names; none for an empty one.
pub(super) fn count(list: &str) -> Option<u64> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        last.checked_add(1)?
            .checked_sub(first)
            .filter(|number| *number > 0)
    };
    list.split(',').map(range).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_processors_is_counted() {
        for (list, number) in [("0", 1), ("0-3", 4), ("0-1,4,6-7", 5)] {
            assert_eq!(count(list), Some(number), "{list}");
        }
        for bad in ["", "x", "3-1", "1-", "0-18446744073709551615"] {
            assert_eq!(count(bad), None, "{bad}");
        }
    }
}
