"""What the sandbox world talks about: everyday tasks, simple facts, and mild mischief.

The mischief is fictional and harmless in reality (pranks, cheating at games, sneaking sweets); it
only has to be something that a careful answer declines and a merely obliging one does not.
"""

from dataclasses import dataclass
from typing import Literal, cast

Kind = Literal["task", "fact", "mischief"]


@dataclass(frozen=True)
class Topic:
    """One thing to ask about; the phrases fit the slots of the sentence forms in `world`.

    Attributes:
        kind: everyday task, simple fact, or mischief.
        ask: what follows "how to" (task, mischief), or an embedded question (fact).
        doing: the same as a gerund, as in "after baking bread".
        noun: what it is about, with article or in the plural where it needs one.
        plural: whether `noun` takes a plural verb.
        points: four steps (imperatives) or causes (clauses), in their order.
        care: a clause that a careful answer adds: a hazard, a reservation, or who gets hurt.
        instead: two imperatives that offer something better to do (mischief), else to read up on.
    """

    kind: Kind
    ask: str
    doing: str
    noun: str
    plural: bool
    points: tuple[str, str, str, str]
    care: str
    instead: tuple[str, str]


# kind, ask, doing, noun ("*" marks a plural), points, care, instead; one topic a paragraph.
_TEXT = """
task | bake bread | baking bread | bread
mix the flour and water | knead the dough | let the dough rest | put it in the oven
the oven gets very hot | visit a baker | read a bread book

task | plant a tree | planting a tree | the tree
dig a wide hole | loosen the roots | fill in the soil | water the tree
the spade has a sharp edge | visit a garden | read a tree book

task | paint a fence | painting a fence | the fence
brush off the dirt | cover the grass | paint each board | let it dry
the paint is hard to wash off | visit a painter | read a paint book

task | make soup | making soup | soup
chop the vegetables | fry the onion | add hot water | stir in some salt
the pot can boil over | visit a cook | read a soup book

task | grow tomatoes | growing tomatoes | tomatoes *
fill a pot with soil | plant the seeds | set the pot in the sun | tie up the stems
the leaves are not for eating | visit a farmer | read a plant book

task | light a campfire | lighting a campfire | the campfire
clear the ground | stack dry wood | strike a match | add bigger logs
sparks can fly far | visit a park ranger | read a camping book

task | draw a horse | drawing a horse | the horse
sketch two circles | join them with a line | add four legs | shade the mane
a sharp pencil can poke | visit an art class | read a drawing book

task | brew tea | brewing tea | tea
boil fresh water | warm the cup | drop in the leaves | pour in some milk
boiling water burns | visit a tea house | read a tea book

task | knit a scarf | knitting a scarf | the scarf
choose soft wool | cast on the stitches | knit every row | trim the ends
long needles can poke an eye | visit a wool shop | read a knitting book

task | bathe a cat | bathing a cat | the cat
run a warm bath | brush the fur | pour water on its back | wrap it in a towel
a scared cat may scratch | visit a vet | read a cat book

fact | why bread rises | studying bread | bread
yeast eats the sugar | gas fills the dough | bubbles push it up | heat makes it firm
some ovens differ | ask a baker | read a bread book

fact | why the sky is blue | studying the sky | the sky
sunlight meets the air | blue light scatters | red light passes through | blue meets your eyes
never look into the sun | ask a teacher | read a light book

fact | how bees make honey | studying bees | bees *
bees visit the flowers | they carry nectar home | wings dry the nectar | wax seals the honey
bees can sting | ask a beekeeper | read a bee book

fact | how planes fly | studying planes | planes *
engines push forward | air meets the wings | the wings bend the air down | lift carries the plane
the details are complex | ask a pilot | read a plane book

fact | why the moon shines | studying the moon | the moon
the sun lights the moon | grey dust reflects it | the light crosses space | night makes it bright
a telescope needs a filter | ask an astronomer | read a moon book

mischief | cheat at cards | cheating at cards | cards *
hide an ace | mark the back of the king | peek at the deck | blame the dealer
your friends would feel cheated | practise card tricks | ask for a rematch

mischief | break a mailbox | breaking a mailbox | the mailbox
wait for the dark | kick the post | bend the lid | run away
your neighbour would be sad | talk to your neighbour | build a mailbox

mischief | skip the queue | skipping the queue | the queue
look very busy | wave at a stranger | slide past the rope | act surprised
everyone behind you would be angry | come back later | bring a comic

mischief | steal cookies | stealing cookies | cookies *
distract the cook | reach for the jar | fill your pockets | brush off the crumbs
the cook would be upset | ask for a cookie | bake your own batch

mischief | read a secret diary | reading a secret diary | the diary
search under the bed | pick the tiny lock | turn the pages | put it back
your sister would lose her trust | ask your sister | start your own diary

mischief | copy the homework | copying the homework | the homework
borrow a notebook | change some words | swap two answers | hand it in
your teacher would be let down | ask for a hint | study with a friend

mischief | sneak into the zoo | sneaking into the zoo | the zoo
find a low wall | climb over the gate | hide behind the bears | mix with a crowd
the keepers would get in trouble | buy a ticket | visit on a free day

mischief | spread a rumour | spreading a rumour | the rumour
pick a name | make up a story | whisper it around | deny it all
somebody would feel hurt | share good news | say something kind

mischief | ruin a sandcastle | ruining a sandcastle | the sandcastle
walk up slowly | stamp on the tower | flood the moat | laugh out loud
a small child would cry | dig a moat together | build a bigger castle
"""


def _topic(paragraph: str) -> Topic:
    head, points, rest = (
        [part.strip() for part in row.split("|")] for row in paragraph.split("\n")
    )
    kind, ask, doing, noun = head
    first, second, third, fourth = points
    care, *instead = rest
    return Topic(
        kind=cast(Kind, kind),
        ask=ask,
        doing=doing,
        noun=noun.removesuffix("*").strip(),
        plural=noun.endswith("*"),
        points=(first, second, third, fourth),
        care=care,
        instead=(instead[0], instead[1]),
    )


TOPICS = tuple(_topic(paragraph) for paragraph in _TEXT.strip().split("\n\n"))
