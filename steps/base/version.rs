//! Compares versions of software, which distributions write in many ways: `4.9.3+ds1`, `1.21-1`, `2:0.14.1+dfsg-3.1`.

use std::cmp::Ordering;
use std::str::FromStr;

/// The numbers of a version: `4.9.3+ds1` has 4, 9 and 3. What follows them is the distribution's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(Vec<u64>);

impl Version {
    pub fn parse(text: &str) -> Option<Version> {
        let numbers = match text.split_once(':') {
            Some((epoch, version)) if epoch.parse::<u64>().is_ok() => version,
            _ => text,
        };
        let end = numbers.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(numbers.len());
        let numbers = numbers[..end].trim_end_matches('.').split('.').map(|part| part.parse().ok());
        let mut numbers: Vec<u64> = numbers.collect::<Option<_>>()?;
        // 5 and 5.0 are the same.
        while numbers.len() > 1 && numbers.last() == Some(&0) {
            numbers.pop();
        }
        Some(Version(numbers))
    }
}

/// Versions that satisfy every one of some comparisons: `>=1.14, <1.30`. Each bound has the orderings that satisfy it.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionRange(Vec<(&'static [Ordering], Version)>);

impl VersionRange {
    pub fn contains(&self, version: &Version) -> bool {
        self.0.iter().all(|(allowed, bound)| allowed.contains(&version.cmp(bound)))
    }
}

impl FromStr for VersionRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        use Ordering::{Equal, Greater, Less};
        const SIGNS: [(&str, &[Ordering]); 5] =
            [(">=", &[Greater, Equal]), ("<=", &[Less, Equal]), (">", &[Greater]), ("<", &[Less]), ("=", &[Equal])];
        let comparison = |part: &str| {
            let (sign, allowed) = *SIGNS.iter().find(|(sign, _)| part.trim().starts_with(sign))?;
            let bound = part.trim()[sign.len()..].trim();
            let plain = bound.chars().all(|c| c.is_ascii_digit() || c == '.') && !bound.ends_with('.');
            Some((allowed, Version::parse(bound).filter(|_| plain)?))
        };
        let range = text.split(',').map(comparison).collect::<Option<Vec<_>>>().map(VersionRange);
        range.ok_or_else(|| format!("\"{text}\" is not a range of versions: write it as \"{}\"", meant(text)))
    }
}

/// Returns a range of all versions that begin as a text does: `>=5, <6` for `5.`.
fn meant(text: &str) -> String {
    let Some(Version(mut numbers)) = Version::parse(text.trim()) else { return ">=1.14, <1.30".to_owned() };
    let written = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
    let first = written(&numbers);
    if let Some(last) = numbers.last_mut() {
        *last = last.saturating_add(1);
    }
    format!(">={first}, <{}", written(&numbers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_range_contains_what_its_comparisons_say_however_a_version_is_written() {
        for (range, inside, outside) in [
            (
                ">=1.14, <1.30",
                &["1.14", "1.14.1", "1.21", "1.21-1", "1.29.1"][..],
                &["1.13.9", "1.30", "1.30.0", "2", "1.8.1"][..],
            ),
            (">= 5", &["5", "5.0.0", "5.4.2", "5.8.6+ds1-2", "10.0"], &["4.9.3+ds1", "4.10"]),
            (">5.4,<=5.8", &["5.4.1", "5.8", "5.8.0"], &["5.4", "5.4.0", "5.8.1"]),
            ("=0.14.1", &["0.14.1+dfsg-3.1", "2:0.14.1", "0.14.1.0"], &["0.14", "0.14.10", "0.17.1"]),
            ("<257", &["256.7-1~deb13u1"], &["257.13-1~deb13u1", "257"]),
            (">=6.12", &["6.12.107+deb13-cloud-amd64"], &["6.1.0-18-amd64", "6.8.0-1018-aws"]),
        ] {
            let range: VersionRange = range.parse().unwrap();
            let contains = |version: &&&str| range.contains(&Version::parse(version).unwrap());
            assert_eq!(inside.iter().find(|version| !contains(version)), None, "{range:?}");
            assert_eq!(outside.iter().find(contains), None, "{range:?}");
        }
        assert!(["", "none", "v5", "a.b", "5..1", ":"].iter().all(|text| Version::parse(text).is_none()));
    }

    #[test]
    fn what_is_not_a_range_is_refused_with_the_range_that_was_meant() {
        for (text, meant) in [
            ("5.", ">=5, <6"),
            ("1.21", ">=1.21, <1.22"),
            ("4.9.3+ds1", ">=4.9.3, <4.9.4"),
            ("", ">=1.14, <1.30"),
            ("~5", ">=1.14, <1.30"),
            (">=5,", ">=1.14, <1.30"),
            (">=5.", ">=1.14, <1.30"),
            (">=5.4.2+ds1", ">=1.14, <1.30"),
        ] {
            let error = text.parse::<VersionRange>().unwrap_err();
            assert_eq!(error, format!("\"{text}\" is not a range of versions: write it as \"{meant}\""));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn versions_are_ordered_by_their_numbers_and_a_range_is_what_its_comparisons_say(
            a in prop::collection::vec(0_u64..4, 1..4),
            b in prop::collection::vec(0_u64..4, 1..4),
            suffix in "(\\+ds1|-1~deb13u1|\\.0){0,2}",
        ) {
            let written = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
            let full = |numbers: &[u64]| [numbers, &[0; 4]].concat()[..4].to_vec();
            let version = |numbers: &[u64]| Version::parse(&format!("{}{suffix}", written(numbers))).unwrap();
            let order = full(&a).cmp(&full(&b));
            prop_assert_eq!(version(&a).cmp(&version(&b)), order);
            for (sign, holds) in
                [(">=", order.is_ge()), ("<=", order.is_le()), (">", order.is_gt()), ("<", order.is_lt()), ("=", order.is_eq())]
            {
                let range: VersionRange = format!("{sign}{}, >=0", written(&b)).parse().unwrap();
                prop_assert_eq!(range.contains(&version(&a)), holds);
            }
        }

        #[test]
        fn what_is_suggested_for_a_text_that_is_not_a_range_is_one(text in "[<>=]{0,2}[0-9]{0,21}[.,]?[0-9]{0,3}[a+ ]?") {
            if let Err(error) = text.parse::<VersionRange>() {
                let meant = error.split("write it as \"").nth(1).and_then(|rest| rest.strip_suffix('"')).unwrap();
                prop_assert!(meant.parse::<VersionRange>().is_ok(), "{error}");
            }
        }
    }
}
