"""View models of the pages: plain values, computed by pure functions from the catalog."""

from __future__ import annotations

from shared.web.views.acts import ThanksView, TokenView, thanks_view, token_view
from shared.web.views.board import BoardView, board_view
from shared.web.views.campaigns import CampaignView, HomeView, campaign_view, home_view
from shared.web.views.cases import CaseView, case_view
from shared.web.views.catalog_view import CatalogView, ReadyCatalog, campaign_languages
from shared.web.views.contacts import ContactView, contact_view
from shared.web.views.forms import FormState
from shared.web.views.problems import ProblemView, problem_view
from shared.web.views.sheets import SheetView, sheet_view

__all__ = [
    "BoardView",
    "CampaignView",
    "CaseView",
    "CatalogView",
    "ContactView",
    "FormState",
    "HomeView",
    "ProblemView",
    "ReadyCatalog",
    "SheetView",
    "ThanksView",
    "TokenView",
    "board_view",
    "campaign_languages",
    "campaign_view",
    "case_view",
    "contact_view",
    "home_view",
    "problem_view",
    "sheet_view",
    "thanks_view",
    "token_view",
]
