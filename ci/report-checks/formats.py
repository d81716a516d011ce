"""Checks a run's junit.xml, oscal-assessment-results.json and badge.svg with programs that read such files.

usage: python formats.py DIR
"""

import argparse
import json
import pathlib
import sys
from collections import Counter

from junitparser import Error, Failure, JUnitXml, Skipped
from lxml import etree
from trestle.core.validator_factory import validator_factory
from trestle.oscal.assessment_results import AssessmentResults

SCHEMAS = pathlib.Path(__file__).parent / "schemas"

WANTED = {
    "holds": None,
    "fails": Failure,
    "inconclusive": Error,
    "not-run": Skipped,
    "known-deviation": Skipped,
}


def check(what, problems):
    print(f"FAIL {what}: {'; '.join(problems[:5])}" if problems else f"ok   {what}")
    return not problems


def tried(what, folder, verdicts):
    """A report that is not there, or that cannot even be read, has failed."""
    try:
        return what(folder, verdicts)
    except Exception as error:
        return check(what.__name__, [f"{type(error).__name__}: {error}"])


def jenkins(folder, _verdicts):
    """Valid for Jenkins' xUnit plug-in, which refuses the whole file otherwise, and for its JUnit plug-in's older schema."""
    document = etree.parse(folder / "junit.xml")
    schema = etree.XMLSchema(etree.parse(SCHEMAS / "jenkins-xunit-junit-10.xsd"))
    schema.validate(document)
    problems = [f"line {error.line}: {error.message}" for error in schema.error_log]
    problems += [f"line {each.sourceline}: skipped has attributes" for each in document.iter("skipped") if each.attrib]
    for case in document.iter("testcase"):
        package, _, name = case.get("classname").rpartition(".")
        if "." in package or not name:
            problems.append(f"line {case.sourceline}: Jenkins takes {package} for a package, and {name} for a class")
    return check("junit.xml: valid against the schemas of Jenkins' plug-ins", problems)


def gitlab(folder, _verdicts):
    """As GitLab documents its reader: under 30 MB, of several tests with one name only the first, words as content."""
    path = folder / "junit.xml"
    problems = [] if path.stat().st_size < 30_000_000 else ["it has 30 MB or more"]
    cases = list(etree.parse(path).iter("testcase"))
    names = Counter((case.get("classname"), case.get("name")) for case in cases)
    problems += [f"{count} cases are named {name}" for name, count in names.items() if count > 1]
    for case in cases:
        float(case.get("time"))
        results = case.xpath("failure|error|skipped")
        if len(results) > 1 or not all(result.text for result in results):
            problems.append(f"line {case.sourceline}: {len(results)} results, or one without words")
    return check(f"junit.xml: {len(cases)} cases, each with a name and words that GitLab shows", problems)


def junit(folder, verdicts):
    """One case per scenario, with the status of its verdict; counts as the file itself gives them. The library is what
    the GitHub action publish-unit-test-result reads with."""
    report = JUnitXml.fromfile(str(folder / "junit.xml"))
    cases = {case.name: case for suite in report for case in suite}
    problems = []
    counts = Counter()
    scenarios = [(claim, scenario) for claim in verdicts["claims"] for scenario in claim["scenarios"]]
    names = Counter()
    for claim, scenario in scenarios:
        # One that holds shows its claim's verdict if something else decides it, such as a control.
        verdict = scenario["verdict"]
        if verdict == "holds" and claim["verdict"] not in [other["verdict"] for other in claim["scenarios"]]:
            verdict = claim["verdict"]
        name = f"{claim['id']} {scenario['name']}"
        names[name] += 1
        name += f" ({names[name]})" if names[name] > 1 else ""
        case = cases.pop(name, None)
        if case is None:
            problems.append(f"no case is named {name}")
            continue
        found = [type(result) for result in case.result]
        wanted = WANTED[verdict]
        counts[wanted] += 1
        if found != ([wanted] if wanted else []):
            problems.append(f"{name} {verdict}: {found}")
    beyond = len(verdicts["problems"]) + (not verdicts["complete"])
    if len(cases) != beyond:
        problems.append(f"{len(cases)} cases beyond the claims, not {beyond}")
    counts[Failure] += len(verdicts["problems"])
    counts[Error] += not verdicts["complete"]
    stated = (report.tests, report.failures, report.errors, report.skipped)
    report.update_statistics()
    counted = (report.tests, report.failures, report.errors, report.skipped)
    wanted = (sum(counts.values()), counts[Failure], counts[Error], counts[Skipped])
    if not stated == counted == wanted:
        problems.append(f"tests, failures, errors, skipped: stated {stated}, counted {counted}, wanted {wanted}")
    return check(f"junit.xml: {counted[0]} cases, each as its verdict says", problems)


def oscal(folder, verdicts):
    """Valid for the reference implementation, and a finding exactly for what was judged."""
    document = AssessmentResults.oscal_read(folder / "oscal-assessment-results.json")
    if document is None:
        return check("oscal-assessment-results.json", ["it is not there"])
    validator = validator_factory.get(argparse.Namespace(mode="all"))
    problems = [] if validator.model_is_valid(document, True) else ["not valid"]
    valid = check("oscal-assessment-results.json: valid for compliance-trestle", problems)
    judged = {
        claim["id"]: "satisfied" if claim["verdict"] == "holds" else "not-satisfied"
        for claim in verdicts["claims"]
        if claim["verdict"] in ("holds", "fails", "known-deviation")
    }
    findings = document.results[0].findings or []
    found = {str(finding.target.target_id): finding.target.status.state.value for finding in findings}
    names = sorted(judged.keys() | found.keys())
    wrong = [name for name in names if found.get(name) != judged.get(name)]
    problems = [f"{name}: {found.get(name)}, not {judged.get(name)}" for name in wrong]
    what = f"oscal-assessment-results.json: {len(found)} findings, one for each claim that was judged"
    return check(what, problems) and valid


def badge(folder, verdicts):
    """An image with a title, of the colour of success only if every claim was judged and holds."""
    svg = etree.parse(folder / "badge.svg").getroot()
    title = svg.findtext("{*}title")
    colour = svg.findall("{*}rect")[-1].get("fill")
    held = verdicts["complete"] and verdicts["exit"] == 0
    held = held and {claim["verdict"] for claim in verdicts["claims"]} == {"holds"}
    problems = [] if title == svg.get("aria-label") else [f"its title is {title}"]
    if (colour == "#00724f") != held:
        problems.append(f"it is {colour}, and {'every claim' if held else 'not every claim'} holds")
    return check(f"badge.svg: an image, {title}", problems)


if __name__ == "__main__":
    run = pathlib.Path(sys.argv[1])
    said = json.loads((run / "verdicts.json").read_text(encoding="utf-8"))
    sys.exit(0 if all([tried(what, run, said) for what in (jenkins, gitlab, junit, oscal, badge)]) else 1)
