"""Run one scenario on a stand: a campaign of its own, steady load, the fault, and the checker's verdict."""

from __future__ import annotations

import math
import random
import secrets
from typing import Final

from tests.faults import checker, evidence
from tests.faults.checker import Verdict
from tests.faults.evidence import Tallies
from tests.faults.load import Load, Target
from tests.faults.registry import Scenario, ScenarioRun
from tests.faults.stand import Stand

WARM_UP_ACTIONS: Final = 150
"""The actions acknowledged before the fault begins."""
ACTIONS_AFTERWARDS: Final = 300
"""The actions acknowledged after it has ended."""

CAMPAIGN: Final = """
campaign:
  slug: {slug}
  title: {{en: Under fire}}
  opens: {opens}
  closes: {closes}
  confirmations_close: {closes}
  goal: 100000
  languages: [en]
  policies:
    one_per: email
    confirmation: {confirmation}
    public_evidence: [recorded, confirmed]
    public_threshold: 1
cases:
  - slug: case-{slug}
    name: Sample Case
    country: FR
    status: detained
    story: {{en: A story.}}
    petition: {{slug: free-{slug}, title: {{en: Free}}, text: {{en: Free the sample.}}, targets: []}}
"""


async def run(
    scenario: Scenario,
    stand: Stand,
    tallies: Tallies,
    seed: int,
    *,
    drain_within_s: float = checker.DRAIN_WITHIN_S,
    longest_s: float = math.inf,
) -> Verdict:
    """Run `scenario` and return the verdict, good or bad. A stand on which an invariant was violated is ruined.

    `longest_s` bounds the faults, and `drain_within_s` the wait for the recovery.
    """
    campaign = f"{scenario.name}-{secrets.token_hex(3)}"
    await import_campaign(stand, campaign, confirmation=scenario.confirmation)
    target = Target(stand.origin("petitions"), stand.origin("letters"), campaign)
    load = Load(target, scenario.rate, seed, letters=scenario.letters)
    load.give_up_s = scenario.patience_s
    scenario_run = ScenarioRun(stand, campaign, load, random.Random(seed), await evidence.take_start_marks(stand))
    scenario_run.expected.drain_within_s = drain_within_s
    scenario_run.longest_s = longest_s
    stand.ruined = True
    load.start()
    try:
        await load.reach(WARM_UP_ACTIONS)
        try:
            await scenario.harm(scenario_run)
        except (TimeoutError, AssertionError) as error:
            scenario_run.require(False, f"G: the scenario did not come to its end: {error}")
            scenario_run.heal()
        verdict = await _judged(scenario, scenario_run, tallies)
    finally:
        await load.cancel()
        await scenario_run.close()
    verdict.broken += scenario_run.broken
    stand.ruined = scenario.ruins or bool(verdict.broken)
    return verdict


async def _judged(scenario: Scenario, scenario_run: ScenarioRun, tallies: Tallies) -> Verdict:
    if not scenario.judged:
        journal = await scenario_run.load.stop()
        return Verdict(acknowledged=len(journal.acknowledged), broken=checker.promises(journal, scenario_run.expected))
    broken = []
    try:
        await scenario_run.load.reach(ACTIONS_AFTERWARDS, within=scenario_run.expected.drain_within_s)
    except TimeoutError:
        broken.append(f"G: hardly anybody is acknowledged {scenario_run.expected.drain_within_s:.0f} s after healing")
    journal = await scenario_run.load.stop()
    backlog = await scenario_run.wait_for_backlog()
    verdict = await checker.judge(
        checker.Case(
            scenario_run.stand,
            scenario_run.campaign,
            journal,
            scenario_run.marks,
            tallies,
            scenario_run.healed_at,
            backlog,
            scenario_run.expected,
        )
    )
    verdict.broken += broken
    if scenario.confirmation != "none":
        addresses = {act: scenario_run.load.address(act) for act in journal.acknowledged}
        taking = {act: to for act, to in addresses.items() if not to.endswith(f"@{scenario_run.expected.no_mail_to}")}
        patience = 2 * scenario_run.expected.drain_within_s
        verdict.broken += await checker.mails(scenario_run.stand, taking, patience, scenario_run.expected.copies)
    return verdict


async def import_campaign(
    stand: Stand,
    slug: str,
    *,
    confirmation: str = "none",
    opens: str = "2020-01-01T00:00:00Z",
    closes: str = "2100-01-01T00:00:00Z",
) -> None:
    """Import a campaign with one case and its petition, as an operator does."""
    file = stand.home.root / f"{slug}.yaml"
    file.write_text(CAMPAIGN.format(slug=slug, confirmation=confirmation, opens=opens, closes=closes))
    done = await stand.mille("campaigns", "import", str(file))
    assert done.code == 0, done.output
