"""Names for people who must not be named: two words and a number, from a keyed hash of the account. Pure."""

from __future__ import annotations

from typing import Final

_ADJECTIVES_TEXT: Final = """
amber ample brave brisk bright calm candid civil clear clever cosmic crisp daring deep deft eager early easy elder
even fabled fair fast fine fleet fond frank free fresh gentle glad golden grand green happy hardy hidden honest
humble jolly keen kind late lively loyal lucid lunar mellow merry mighty modest neat noble novel nimble olive open
patient plucky polite prime proud quick quiet rapid rare ready regal rustic sage serene sharp silent silver simple
sleek smart solar solid steady still stout sunny swift tidy trusty upbeat vivid warm wise witty young zesty
"""
_ANIMALS_TEXT: Final = """
ant auk badger bat bear beaver bee bison boar bobcat buck camel carp cat cicada cod condor coot cougar crab crane
cricket crow cuckoo deer dingo dove duck eagle eel egret elk emu falcon ferret finch fox frog gecko gibbon goat
goose grouse gull hare hawk heron hornet horse ibex ibis iguana jackal jay kestrel kite kiwi koala lark lemur lion
lizard llama loon lynx magpie marmot marten mole moose moth mouse newt ocelot octopus orca osprey otter owl panda
parrot pelican perch pike plover pony puffin puma quail rabbit raven robin salmon seal shark shrew skunk sloth snipe
sparrow squid stag stoat stork swallow swan tapir tern tiger toad trout tuna turtle viper vole walrus wasp weasel
whale wolf wombat wren yak zebra
"""
ADJECTIVES: Final = tuple(_ADJECTIVES_TEXT.split())
ANIMALS: Final = tuple(_ANIMALS_TEXT.split())
_NUMBERS: Final = 10_000


def readable(digest_hex: str) -> str:
    """Give a name like `calm-otter-0042` for a keyed hash of at least 12 hex digits: two bytes for each part."""
    parts = [int(digest_hex[start : start + 4], 16) for start in (0, 4, 8)]
    adjective = ADJECTIVES[parts[0] % len(ADJECTIVES)]
    animal = ANIMALS[parts[1] % len(ANIMALS)]
    return f"{adjective}-{animal}-{parts[2] % _NUMBERS:04d}"
