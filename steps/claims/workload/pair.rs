//! Reads which two of a workload's units are compared with each other, and finds the pair that a step is about.

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::{Workload, check_name, set};
use crate::base::unit_file::UnitFile;

/// Two units that are compared. The first is also compared with itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    pub name: String,
    pub units: [String; 2],
    /// Where a client on the machine makes requests to, when either unit is up.
    pub url: Option<String>,
}

impl Pair {
    /// Returns whether it compares these units, or one with itself.
    fn compares(&self, [one, other]: &[String; 2]) -> bool {
        let [first, second] = &self.units;
        match one == other {
            true => one == first,
            false => [[first, second], [second, first]].contains(&[one, other]),
        }
    }
}

/// Returns the units that a step compares: those that it has in quotes.
pub fn units(step: &str) -> anyhow::Result<[String; 2]> {
    let mut names = step.split(['"', '\'']).skip(1).step_by(2).map(str::to_owned);
    let one = names.next().context("it names no unit")?;
    let other = names.next().unwrap_or_else(|| one.clone());
    Ok([one, other])
}

impl Workload {
    /// Checks that each pair has two units that the Quadlets make.
    pub(super) fn check_pairs(&self) -> anyhow::Result<()> {
        let services = self.services();
        for (place, pair) in self.pairs.iter().enumerate() {
            check_name(&pair.name).context("the name of a pair")?;
            let Pair { name, units: [one, other], url } = pair;
            for unit in &pair.units {
                let known = services.join(", ");
                ensure!(
                    services.contains(unit),
                    "the pair {name} has the unit \"{unit}\", which no Quadlet makes: they make {known}"
                );
                let quadlet = self.quadlet_of(unit).unwrap_or_default();
                ensure!(
                    !UnitFile::parse(quadlet).values("Container", "Image").is_empty(),
                    "the pair {name} has the unit \"{unit}\", which is not a container"
                );
            }
            ensure!(
                one != other,
                "the pair {name} has the unit \"{one}\" twice: name two; the first is also compared with itself"
            );
            if let Some(url) = url {
                ensure!(
                    url.starts_with("http://"),
                    "the pair {name} has the url \"{url}\": write one that begins with http://"
                );
            }
            for earlier in &self.pairs[..place] {
                ensure!(earlier.name != *name, "two pairs have the name {name}: give one another");
                let same = earlier.compares(&pair.units);
                ensure!(!same, "the pairs {} and {name} have the same units: leave one out", earlier.name);
            }
        }
        Ok(())
    }

    /// Returns the pair that compares these units, or one with itself.
    pub fn pair(&self, units: &[String; 2]) -> anyhow::Result<&Pair> {
        let found = self.pairs.iter().find(|pair| pair.compares(units));
        let [one, other] = units;
        found.with_context(|| match self.pairs.iter().find(|pair| pair.units.contains(one)) {
            Some(Pair { units: [first, _], .. }) if one == other => {
                format!("only the first unit of a [[pair]] is compared with itself: write \"{first}\"")
            }
            _ => format!("no [[pair]] in workload.toml has units = [\"{one}\", \"{other}\"]"),
        })
    }

    /// Returns the Quadlet that makes a unit.
    pub fn quadlet_of(&self, unit: &str) -> Option<&str> {
        if unit == self.name {
            return Some(&self.quadlet);
        }
        let mut others = self.set.quadlets.iter();
        others.find(|(file, text)| set::service(file, text).as_deref() == Some(unit)).map(|(_, text)| text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::workload;
    use super::*;

    fn pair(name: &str, units: [&str; 2]) -> Pair {
        Pair { name: name.to_owned(), units: units.map(str::to_owned), url: None }
    }

    /// Returns a workload of the containers w, a and b and the network n, with these pairs.
    fn with(pairs: Vec<Pair>) -> Workload {
        let mut workload = Workload { pairs, ..workload("[Container]\nImage=@IMAGE@\n") };
        let quadlets =
            [("a.container", "[Container]\nImage=x\n"), ("b.container", "[Container]\nImage=y\n"), ("n.network", "")];
        workload.set.quadlets = quadlets.map(|(file, text)| (file.to_owned(), text.to_owned())).into();
        workload
    }

    #[test]
    fn what_is_wrong_with_a_pair_is_named() {
        let good = || pair("x", ["w", "b"]);
        with(vec![good(), pair("y", ["a", "b"])]).check_pairs().unwrap();
        let mut seen = String::new();
        for pairs in [
            vec![pair("X Y", ["a", "b"])],
            vec![pair("x", ["a", "c"])],
            vec![pair("x", ["a", "n-network"])],
            vec![pair("x", ["a", "a"])],
            vec![Pair { url: Some("localhost:80".to_owned()), ..good() }],
            vec![good(), pair("x", ["a", "b"])],
            vec![good(), pair("y", ["b", "w"])],
        ] {
            seen += &format!("{:#}\n", with(pairs).check_pairs().unwrap_err());
        }
        insta::assert_snapshot!("pair_errors", seen);
    }

    #[test]
    fn the_pair_of_a_step_is_found_in_either_order_and_the_first_beside_itself() {
        let workload = with(vec![pair("x", ["w", "b"])]);
        let found = |step: &str| match workload.pair(&units(step).unwrap()) {
            Ok(pair) => pair.name.clone(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found("\"w\" and \"b\" have been up in pairs"), "x");
        assert_eq!(found("\"b\" takes at least 3 times less memory than \"w\""), "x");
        assert_eq!(found("\"w\" has been up in pairs with itself"), "x");
        let error = "only the first unit of a [[pair]] is compared with itself: write \"w\"";
        assert_eq!(found("\"b\" has been up in pairs with itself"), error);
        assert_eq!(
            found("\"a\" and 'w' have been up in pairs"),
            "no [[pair]] in workload.toml has units = [\"a\", \"w\"]"
        );
        assert!(units("the workload is up").is_err());
    }
}
