"""The symbols of an ELF object file, as far as a test needs them."""

import struct

_SYMTAB = 2


def symbols(image):
    """Return the names that an object exports, and those that it refers to outside itself."""
    assert image[:6] == b"\x7fELF\x02\x01", "a 64-bit little-endian ELF file is expected"
    start, _, _, _, _, size, count, _ = struct.unpack_from("<QIHHHHHH", image, 40)
    sections = [struct.unpack_from("<IIQQQQIIQQ", image, start + k * size) for k in range(count)]
    exported, imported = set(), set()
    for _, kind, _, _, offset, length, link, _, _, entry in sections:
        if kind != _SYMTAB:
            continue
        names = sections[link][4]
        for place in range(offset, offset + length, entry):
            name, info, _, section, _, _ = struct.unpack_from("<IBBHQQ", image, place)
            binding = info >> 4
            if binding:  # not local
                begin = names + name
                text = image[begin : image.index(b"\0", begin)].decode()
                (exported if section else imported).add(text)
    return exported, imported
