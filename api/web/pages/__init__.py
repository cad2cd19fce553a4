"""One module a group of pages; each gives `routes(web) -> APIRouter`."""
