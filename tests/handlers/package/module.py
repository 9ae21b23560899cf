"""A handler inside a package."""


def handler(event, context):
    return __name__
