"""A handler that can not be imported."""

import a_library_that_nobody_installed


def handler(event, context):
    return a_library_that_nobody_installed.answer(event)
