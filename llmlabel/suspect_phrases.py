"""What instructions to a labelling model sound like, by language: cheap triggers, and the pattern that decides.

Patterns run on lower-case text where one of their triggers was found. Gaps are bounded, so no pattern can run wild.
"""

from __future__ import annotations

import re

GAP = r"(?:[^\w\n.]{1,3}[\w'’-]{1,24}){0,5}?[^\w\n.]{1,3}"  # up to five words
NEAR = r"[^.\n。！]{0,24}?"
TEXT = "(?:text|message|document|example|e-?mail|ticket|request|query|review|post|comment|input|row|item|sample|sentence|record)"
LABELLER = "(?:labell?er|classifier|annotator|language model|llm|ai)"
READERS = "(?:ais?|llms?|language models?|models?|annotators?|labell?ers?|classifiers?|graders?|assistants?|chatbots?|bots?)"
ORDERS = "(?:instructions?|prompts?|guidelines?|directives?|commands?|directions?|label(?:ling)? rules?)"
CHOICE = "(?:label|letter|category|code|class)"
ONLY = "(?:only|just|exactly|nothing but|solely|strictly|simply)"
DROP = (
    "(?:ignor(?:e|ing)|disregard(?:ing)?|forget(?:ting)?|overrid(?:e|ing)|bypass(?:ing)?|stop following|n[o']t follow|set aside)"
)
EARLIER = "(?:previous|prior|preceding|earlier|above|foregoing|original|initial|system)"

_RULES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    # first five letters of words; parts of a text, separated by |; the patterns to look for when one of either is there
    ("ignor disre forge overr bypas follo aside super", "", (
        r"\bsupersedes? (?:all|any|every|the) (?:prior|previous|other|earlier) ",

        rf"\b{DROP}{GAP}(?:{ORDERS}|task (?:above|given)|labels? (?:above|list))",
        rf"\b{DROP}(?: all| any)?(?: of)?(?: the| your)? {EARLIER} "
        r"(?:rules?|orders?|text|context|messages?|task|labels?|input|conversation)",
        rf"\b{DROP}(?: all| any)?(?: the| your| its)? (?:safety|system|content|ethical|security|moderation) "
        r"(?:protocols?|polic(?:y|ies)|constraints?|restrictions?|filters?|rules?)",
        rf"\b{DROP} (?:the|this|your) \w{{3,20}} task\b|\bforget everything,? you (?:are|must)\b",
        rf"\b{DROP} (?:all |everything |anything |whatever )?(?:that |was |is |were |came |stands |you were )?"
        r"(?:written |said |stated |told )?(?:above|before this|so far)\b",
    )),
    ("label class categ tag annot mark", "", (
        rf"\b(?:label|classify|categori[sz]e|annotate|tag) this(?: \w{{1,10}})?(?: {TEXT})?(?: above| below)? "
        r"(?:as|under|into|with)\b",
        rf"\b(?:label|classify|categori[sz]e|annotate|tag) (?:it|the|that|my|above|following|whole)(?: \w{{1,10}}){{0,2}} {TEXT}"
        r"(?: above| below)? (?:as|under|into|with)\b",
        rf"\b(?:mark|file|sort|code) (?:this|the|that|my)(?: \w{{1,10}})? {TEXT} (?:as|under|into|with)\b",
    )),
    ("label categ class annot inten topic", "", (
        r"\b(?:correct|right|only|true|proper|expected|gold|final|real|actual|verified|best|required) "
        rf"(?:and \w{{1,12}} )?(?:label|category|class|classification|annotation)(?: (?:for|of) (?:this|the|it)(?: {TEXT})?)?"
        r"(?: here)?(?: is| must be| should be| will be|:| =|=)",
        r"\b(?:letter|code) of (?:the |its )?(?:\w{1,12} )?(?:label|category|class)\b",
    )),
    ("answe respo reply outpu retur print write choos selec pick say assig", "", (
        rf"\b(?:answer|respond|reply|output|return|print|write|say)(?: me| back)? {ONLY}(?: with| using| in| by)?"
        rf"(?: the| a| one)?(?: \w{{1,10}})? ?(?:{CHOICE}|word|option|string|name|[\"“«'`:])",
        rf"\b(?:answer|respond|reply|output|return|print|choose|select|pick|assign)(?: it| them| this)?(?: {ONLY}| always)?"
        rf"(?: (?:with|the|a|one|this|single|following|exact|correct)){{1,4}} {CHOICE}\b",
    )),
    ("prete unres uncen unfil guide restr", "you are a|you're a|you are now|you're now|you must"
     "|from now on|act as|new instr|new task|new system|your new|your task|your instr|your only|your real|your true|your job", (
        rf"\byou(?: are|'re) (?:now )?(?:an? |the )?(?:helpful |unrestricted |uncensored )?(?:{LABELLER}|labell?ing system)\b",
        r"\bfrom now on,? (?:you (?:are|will|must|should|always)|every|all|answer|label|respond)",
        rf"\bact as (?:if you (?:are|were)|an? (?:\w{{1,14}} )?{LABELLER}\b)",
        r"\b(?:unrestricted|uncensored|unfiltered)(?: \w{1,12})? (?:mode|model|assistant|ai)\b|\bact as dan\b",
        r"\byou (?:have no|are (?:no longer|not) bound by)(?: any| your)?(?: \w{1,12})? "
        r"(?:guidelines|restrictions|rules|limits)\b",
        r"\bpretend (?:that )?(?:you are|you're|the text|this text|this message)\b",
        r"\bnew (?:instructions?|task|system prompt) ?(?::|for you|from)",
        r"\byour (?:new |only |real |true )?(?:task|instructions?|job|role) (?:is now|now is|(?:has|have) (?:changed|been))",
        r"\byour (?:only|new|real|true) (?:task|job|goal) is\b",
        r"\byou must (?:now )?(?:answer|label|respond|classify|output|choose|select|assign)",
    )),
    ("ai ais llm llms langu model annot label class grade assis chatb bot bots machi autom", "", (
        r"\b(?:notes?|attention|dear|messages?|instructions?|hey|hello|information|reminder)(?: to| for)?[,:]? "
        rf"(?:all |any |the |every )?{READERS}\b(?= ?[:,;.!(-]|\s{{1,2}}(?:who|that|which|reading|processing|only|please|label))",
        rf"\bif you(?: are|'re) an? (?:automated |{LABELLER}\b|chatbot)",
        rf"\b{READERS} (?:that is |that are |who is |who are )?(?:reading|processing|labell?ing|classifying|annotating) this",
    )),
    ("promp overr direc admin opera super devel moder jailb debug maint", "system instr", (
        r"\bsystem (?:prompt|override|instructions? (?:for|to|update)|directive)",
        r"\b(?:admin|administrator|operator|supervisor|developer|moderator) (?:note|override|instruction|command|directive|mode)"
        r"\b(?: ?:| to)",
        r"\bjailbreak(?:ing)? (?:mode|prompt)|\b(?:debug|maintenance|developer) mode (?:is )?(?:on|enabled|active)",
        r"\b(?:policy|priority|security) override\b",
    )),
    ("above", "end of |ends here|stops here|the real |the actual ", (
        rf"\bend of (?:the )?(?:{TEXT}|data|untrusted)\b"
        r"(?=[\s.:*=\-\])]{0,6}(?:new|now|label|the|system|instruction|next|answer|$))",
        rf"\b(?:{TEXT}|data) (?:ends|stops) here\b",
        rf"\b(?:the )?(?:{TEXT} )?above (?:is|was) (?:only |just |merely )?an? (?:test|example|placeholder|decoy|mistake)",
        rf"\bthe (?:real|actual) {TEXT} (?:is|to (?:be )?(?:label|classif|sort)|begins|starts|follows)",
    )),
    ("vafge vtabe ynory", "", ("vafgehpgvba", "vtaber (?:nyy|cerivbhf|gur)", "ynory guvf")),  # rot13
    ("ignor ignór olvid omiso etiqu clasi categ respo conte", "", (
        rf"\b(?:ignor[aeé]\w{{0,4}}|olvid[ae]\w{{0,4}}|haz caso omiso){NEAR}(?:instrucci|indicaci|reglas|[oó]rdenes)",
        r"\b(?:etiquet|clasif|categori[zc])\w{1,7} (?:este|esta|el|la) (?:texto|mensaje|correo|consulta|ejemplo)",
        r"\b(?:respond|contest)\w{1,3} (?:solo|sólo|solamente|únicamente|exclusivamente) con",
    )),
    ("ignor oubli tenez tiens class étiqu catég répon", "", (
        rf"\b(?:ignor(?:e|ez|er|ons)|oubli(?:e|ez|er)|ne ten(?:ez|s) pas compte){NEAR}(?:instructions|consignes|règles|ordres)",
        r"\b(?:class|étiquet|catégoris)\w{1,6} (?:ce|cet|cette|le|la) (?:texte|message|courriel|demande|exemple)",
        r"\brépond\w{0,3} (?:uniquement|seulement|exclusivement)",
    )),
    ("ignor vergi verge missa überg klass kateg etike ordne marki antwo", "", (
        r"\b(?:ignorier\w{0,3}|vergiss|vergessen sie|missacht\w{1,3}|übergeh\w{1,3})"
        rf"{NEAR}(?:anweisung|instruktion|regeln|vorgaben|befehle)",
        r"\b(?:klassifizier|kategorisier|etikettier|ordne|markier)\w{0,3} (?:sie )?(?:diese[nrs]?|den|die|das) (?:\w{1,12} )?"
        r"(?:text|nachricht|e-mail|anfrage|beispiel|dokument)\b",
        r"\bantwort\w{0,3} (?:sie )?(?:nur|ausschließlich|einzig|lediglich) mit",
    )),
    ("ignor esque desco class categ rotul etiqu respo", "", (
        rf"\b(?:ignor[ea]\w{{0,3}}|esque[çc]\w{{1,3}}|desconsider\w{{1,3}}){NEAR}(?:instruç|regras|ordens|orientaç|comandos)",
        r"\b(?:classifi|categori[zs]|rotul|etiquet)\w{1,6} (?:este|esta|esse|essa|o|a) (?:texto|mensagem|pedido|exemplo|e-mail)",
        r"\brespond\w{1,3} (?:apenas|somente|só|unicamente) com",
    )),
    ("ignor dimen class etich categ rispo", "", (
        rf"\b(?:ignor(?:a|are|ate|i)|dimentic\w{{1,4}}){NEAR}(?:istruzioni|regole|indicazioni|ordini)",
        r"\b(?:classific|etichett|categorizz)\w{1,5} (?:questo|questa|il|la) (?:testo|messaggio|richiesta|esempio)",
        r"\brispond\w{1,3} (?:solo|soltanto|unicamente|esclusivamente) con",
    )),
    ("negee verge class categ antwo label", "", (
        rf"\b(?:negeer|vergeet){NEAR}(?:instructies|regels|opdrachten|aanwijzingen)",
        r"\b(?:label|classificeer|categoriseer) (?:deze|dit|het) |\bantwoord (?:alleen|uitsluitend) met",
    )),
    ("zigno ignor zapom pomiń oznac sklas przyp odpow", "", (
        rf"\b(?:z?ignoruj|zapomnij|pomiń){NEAR}(?:instrukcj|poleceni|zasad|reguł)",
        r"\b(?:oznacz|sklasyfikuj|przypisz) (?:ten|tę) |\bodpowiedz (?:tylko|wyłącznie)",
    )),
    ("abaik lupak görme dikka", "yok say|unut|bỏ qua|phớt lờ", (
        rf"\b(?:abaikan|lupakan){NEAR}(?:instruksi|perintah|aturan)",
        rf"(?:talimat|komut|yönerge|kural)\w{{0,8}}{NEAR}(?:görmezden|yok say|dikkate alma|unut)",
        rf"(?:bỏ qua|phớt lờ){NEAR}(?:hướng dẫn|chỉ dẫn|mệnh lệnh|quy tắc)",
    )),
    ("игнор проиг забуд обращ помет отмет класс отнес ответ отвеч", "", (
        rf"(?:игнорир\w{{1,5}}|забудь\w{{0,2}}|не обращай\w{{0,2}} внимани\w){NEAR}(?:инструкци|указани|правил|команд|предыдущ)",
        r"(?:пометь|отметь|классифицируй|отнеси)\w{0,2} (?:этот|это|данный|данное) (?:текст|сообщение)",
        r"(?:ответь|отвечай)\w{0,2} (?:только|лишь|исключительно)",
    )),
    ("", "忽略|无视|無視|忘记|忘掉|不要理会|标记|標記|归类|分类|分類|标注|回答|输出|回复", (
        r"(?:忽略|无视|無視|忘记|忘掉|不要理会)[^。\n]{0,14}(?:指令|指示|说明|說明|规则|規則|提示|要求)",
        r"(?:把|将|請|请)[^。\n]{0,12}(?:标记|標記|归类|分类|分類|标注)[^。\n]{0,6}(?:为|為|成|到)",
        r"(?:只|仅|僅)(?:能)?(?:回答|输出|回复|輸出|回覆)",
    )),
    ("", "無視|忘れ|ラベル|分類|だけ|のみ", (
        r"(?:指示|命令|ルール|規則|プロンプト)[^。\n]{0,8}(?:無視|忘れ)",
        r"(?:テキスト|文章|メッセージ|これ)[^。\n]{0,12}(?:と|に)(?:分類|ラベル)|(?:だけ|のみ)(?:を|で)?(?:回答|出力|答え|返)",
    )),
    ("", "무시|잊|분류|라벨|답하|답변|출력", (
        r"(?:지시|명령|규칙|프롬프트|지침)[^.\n]{0,10}(?:무시|잊)",
        r"(?:텍스트|문장|메시지)[^.\n]{0,16}(?:으로|로) (?:분류|라벨)|만 (?:답하|답변|출력)",
    )),
    ("", "تجاهل|انس |انسى|صنف|صنّف|أجب|اجب", (
        r"(?:تجاهل|انس|انسى)[^.\n]{0,24}?(?:التعليمات|تعليمات|الأوامر|الاوامر|القواعد|التوجيهات)",
        r"(?:صن[ّ]?ف) (?:هذا|هذه|النص|الرسالة)|(?:أجب|اجب) (?:فقط|بكلمة)",
    )),
    ("", "نادیده|فراموش|برچسب|अनदेखा|नज़रअंदाज़|भूल|वर्गीकृत|लेबल", (
        r"(?:دستورالعمل|دستورات|دستور|قوانین)[^.\n]{0,24}?(?:نادیده|فراموش)|این متن را[^.\n]{0,24}?(?:برچسب|دسته)",
        r"(?:निर्देश|आदेश|नियम)[^।\n]{0,24}?(?:अनदेखा|नज़रअंदाज़|भूल)|इस (?:पाठ|संदेश|टेक्स्ट) को[^।\n]{0,24}?(?:वर्गीकृत|लेबल)",
    )),
)  # fmt: skip


def _by_trigger(column: int, separator: str | None) -> dict[str, tuple[re.Pattern[str], ...]]:
    found: dict[str, tuple[re.Pattern[str], ...]] = {}
    for rule in _RULES:
        for trigger in filter(None, str(rule[column]).split(separator)):
            found[trigger] = (*found.get(trigger, ()), re.compile("|".join(rule[2])))
    return found


STEMS = _by_trigger(0, None)
PARTS = _by_trigger(1, "|")
ASCII_PARTS = {part: patterns for part, patterns in PARTS.items() if part.isascii()}
