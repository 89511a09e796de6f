"""One demo and one Chromium for all tests; each test has a page of its own. Without a browser they are skipped.

Both end with the package: while Playwright runs, no other event loop can run in its thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from playwright.sync_api import Browser

    from tests.browser.phones import Phones


@pytest.fixture(scope="package")
def real() -> ModuleType:
    """The module that needs Playwright."""
    pytest.importorskip("playwright", reason="Playwright is missing: `make browser` installs it")
    from tests.browser import phones  # noqa: PLC0415 - see above

    if phones.program() is None:
        pytest.skip("Chromium is missing: `make browser` installs it")
    return phones


@pytest.fixture(scope="package")
def address(real: ModuleType) -> Iterator[str]:
    """The address of a demo that runs as long as the tests."""
    with real.demo() as found:
        yield found


@pytest.fixture(scope="package")
def browser(real: ModuleType) -> Iterator[Browser]:
    """A Chromium that runs as long as the tests."""
    with real.browser() as running:
        yield running


@pytest.fixture
def phones(real: ModuleType, browser: Browser, address: str) -> Iterator[Phones]:
    """The page with all devices, each connected or asleep. At the end its calls are over, and nothing has failed."""
    with real.opened(browser, address) as found:
        yield found
        found.hang_up_all()
    assert found.errors == []
