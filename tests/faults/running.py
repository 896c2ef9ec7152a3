"""Runs one scenario on a stand: a campaign of its own, steady load, the fault, and the checker's verdict."""

from __future__ import annotations

import math
import random
import secrets
from typing import Final

from tests.faults import checker, evidence
from tests.faults.checker import Verdict
from tests.faults.evidence import Tallies
from tests.faults.load import Load, Target
from tests.faults.registry import Fire, Scenario
from tests.faults.stand import Stand

WARM: Final = 150
"""So many are acknowledged before the fault begins."""
AFTER: Final = 300
"""And so many after it has ended."""

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
    """The verdict on `scenario`, whatever it is. A stand on which something did not hold is ruined.

    `longest_s` bounds how long faults last, and `drain_within_s` the patience with what comes after.
    """
    campaign = f"{scenario.name}-{secrets.token_hex(3)}"
    await import_campaign(stand, campaign, confirmation=scenario.confirmation)
    target = Target(stand.origin("petitions"), stand.origin("letters"), campaign)
    load = Load(target, scenario.rate, seed, letters=scenario.letters)
    load.give_up_s = scenario.patience_s
    fire = Fire(stand, campaign, load, random.Random(seed), await evidence.mark(stand))
    fire.expected.drain_within_s = drain_within_s
    fire.longest_s = longest_s
    stand.ruined = True
    load.start()
    try:
        await load.reach(WARM)
        try:
            await scenario.harm(fire)
        except (TimeoutError, AssertionError) as error:
            fire.must(False, f"G: the scenario did not come to its end: {error}")
            fire.heal()
        verdict = await _judged(scenario, fire, tallies)
    finally:
        await load.cancel()
        await fire.close()
    verdict.broken += fire.broken
    stand.ruined = scenario.ruins or bool(verdict.broken)
    return verdict


async def _judged(scenario: Scenario, fire: Fire, tallies: Tallies) -> Verdict:
    if not scenario.judged:
        journal = await fire.load.stop()
        return Verdict(acknowledged=len(journal.acknowledged), broken=checker.promises(journal, fire.expected))
    broken = []
    try:
        await fire.load.reach(AFTER, within=fire.expected.drain_within_s)
    except TimeoutError:
        broken.append(f"G: hardly anybody is acknowledged {fire.expected.drain_within_s:.0f} s after healing")
    journal = await fire.load.stop()
    backlog = await fire.backlog_gone()
    verdict = await checker.judge(
        checker.Case(fire.stand, fire.campaign, journal, fire.marks, tallies, fire.healed_at, backlog, fire.expected)
    )
    verdict.broken += broken
    if scenario.confirmation != "none":
        addresses = {act: fire.load.address(act) for act in journal.acknowledged}
        taking = {act: to for act, to in addresses.items() if not to.endswith(f"@{fire.expected.no_mail_to}")}
        patience = 2 * fire.expected.drain_within_s
        verdict.broken += await checker.mails(fire.stand, taking, patience, fire.expected.copies)
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
