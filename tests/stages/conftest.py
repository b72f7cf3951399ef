from tests.small import empty_store, evaluated, fresh, isolated, registered

__all__ = ["empty_store", "evaluated", "fresh", "isolated", "registered"]
