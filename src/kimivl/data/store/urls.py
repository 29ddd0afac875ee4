"""URLs of objects, taken apart and put together.

    s3://bucket/photos/a b.jpg      a bucket and a key; the key stands as it is, nothing in it is encoded (as in the AWS tools)
    file:///data/photos/a%20b.jpg   a file, as `Path.as_uri()` writes it: only here are %XX characters
    memory://name/key               for tests: lives in one `Client`

What it is not: `urllib.parse.urljoin`, which knows nothing of s3:// and takes "?" and "#" in a key for its end.
"""

from urllib.parse import quote, unquote

KINDS = ("s3", "file", "memory")


def split_url(url: str) -> tuple[str, str]:
    """(root, key): the root names a bucket, "s3://bucket"; of a file it is "file://" and the key its path without the first "/".

    Raises: ValueError naming a URL that no store has.
    """
    kind, found, rest = url.partition("://")
    if not found or kind not in KINDS:
        raise ValueError(f"{url!r} is no URL of a store: write s3://bucket/key, or file:///path for local files")
    host, _, key = rest.partition("/")
    if kind == "file":
        if host not in ("", "localhost"):
            raise ValueError(f"{url!r} names the machine {host!r}: local files are file:///path, with three slashes")
        return "file://", unquote(key)
    if not host:
        raise ValueError(f"{url!r} names no bucket: write {kind}://bucket/key")
    return f"{kind}://{host}", key


def object_url(root: str, key: str) -> str:
    """The inverse of `split_url`."""
    return f"{root}/{quote(key, safe=_PLAIN) if root == 'file://' else key}"


def join_url(folder: str, name: str) -> str:
    """The object `name` (a path) below a folder's URL that ends in "/"; a whole URL stays as it is."""
    if name.partition("://")[0] in KINDS and "://" in name:
        return name
    return folder + (quote(name, safe=_PLAIN) if folder.startswith("file:") else name)


_PLAIN = "/!$&'()*+,;=:@~"  # besides letters, digits, "-", "." and "_": what RFC 3986 allows in a path
