"""Lists that fetch their next page when it is needed."""

from collections.abc import AsyncIterator, Iterator
from typing import Generic, TypeVar

from ..contract.page import Page
from ..core.paging import PageCall, pages
from ..transport.async_driver import AsyncDriver
from ..transport.sync_driver import Driver

T = TypeVar("T")


class Pager(Generic[T]):
    """A list of resources, newest first. Iterating goes over all of them, page after page."""

    def __init__(self, driver: Driver, page: PageCall) -> None:
        self._driver = driver
        self._page = page

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page.items

    def pages(self) -> Iterator[Page[T]]:
        """The pages themselves."""
        return self._driver.iterate(pages(self._driver.settings, self._page))

    def first(self) -> T | None:
        """The newest entry, or None where the list is empty."""
        return next(iter(self), None)


class AsyncPager(Generic[T]):
    """A list of resources, newest first. Iterating goes over all of them, page after page."""

    def __init__(self, driver: AsyncDriver, page: PageCall) -> None:
        self._driver = driver
        self._page = page

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.items:
                yield item

    def pages(self) -> AsyncIterator[Page[T]]:
        """The pages themselves."""
        return self._driver.iterate(pages(self._driver.settings, self._page))

    async def first(self) -> T | None:
        """The newest entry, or None where the list is empty."""
        return await anext(aiter(self), None)
