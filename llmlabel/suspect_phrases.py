"""What instructions to a labelling model sound like, by language: cheap triggers, and the pattern that decides.

Patterns run on lower-case text where one of their triggers was found. Gaps are bounded, so no pattern can run wild.
"""

from __future__ import annotations

import re

GAP = r"(?:[^\w\n.]{1,3}[\w'’-]{1,24}){0,5}?[^\w\n.]{1,3}"  # up to five words
NEAR = r"[^.\n。！]{0,24}?"
TEXT = r"(?:text|message|document|example|email|e-mail|ticket|request|query|review|post|comment|input|row|item|sample|sentence|record)"
WHO = r"(?:ai|a\.i\.|llm|language models?|models?|annotators?|labell?ers?|classifiers?|graders?|assistants?|chatbots?|bots?|machines?)"
ORDERS = r"(?:instructions?|prompts?|guidelines?|directives?|commands?|directions?|label(?:ling)? rules?)"

_RULES: tuple[tuple[str, str, str], ...] = (
    # first five letters of words, parts of a text separated by |, the pattern to look for when one of either is there
    ("ignor disre forge overr bypas follo aside", "",
     rf"\b(?:ignor(?:e|ing)|disregard(?:ing)?|forget(?:ting)?|overrid(?:e|es|ing)|bypass(?:ing)?|overrules?|stop following|(?:not|n't) follow"
     rf"|set aside)(?:{GAP}(?:{ORDERS}|task (?:above|given)|labels? (?:above|list))"
     r"|,? (?:all |every(?:thing|thing that)? |anything |what(?:ever)? )?(?:the |was |is |were |came |stands |you were |has been )?"
     r"(?:written |said |stated |text |told )?(?:above|previously|prior to this|before this line|so far)\b"
     r"|(?: all| any)?(?: the| your)? (?:previous|prior|preceding|earlier|above|foregoing|original|initial|system) "
     r"(?:rules?|orders?|text|context|messages?|content|task|labels?|conversation|input))"),
    ("label class categ tag annot mark", "",
     rf"\b(?:label|classify|categori[sz]e|annotate|tag|mark|file|code|sort)(?: \w{{1,12}})? (?:this|the|that|my|above|following|it)\b"
     rf"(?: (?:whole|entire|above|following|current|present|customer|user))?(?: {TEXT})?(?: above| below)? (?:strictly |only |simply |always )?"
     rf"(?<!mark it )(?<!file it )(?<!file this )(?:as|under|into|with)\b(?= {{0,2}}[\"'“«:(\w])"
     rf"(?<!tag it as)(?<!mark this as)(?<!sort it into)(?<!classify it as)(?<!code it as)"),
    ("label categ class annot inten topic", "",
     rf"\b(?:correct|right|only|true|proper|expected|gold|final|real|actual|verified|appropriate|best|intended|required) "
     r"(?:(?:and|or) \w{1,12} )?(?:label|category|class|classification|annotation|intent label|topic label)"
     rf"(?: (?:for|of) (?:this|the|it)(?: {TEXT})?| here)?(?: is| must be| should be| will be|:| =|=)"
     r"|\b(?:letter|code) of (?:the |its )?(?:\w{1,12} )?(?:label|category|class)\b"),
    ("answe respo reply outpu retur print write choos selec pick say assig", "",
     r"\b(?:answer|respond|reply|output|return|print|write|say)(?: (?:me|back|me back))? "
     r"(?:only|just|exactly|nothing but|solely|strictly|simply)(?: with| using| in| by| the)?"
     r"(?: (?:the|a|one|this|single|following|exact|correct)){0,3} ?(?:label|letter|word|category|code|option|class|string|name|[\"“«'`:])"
     r"|\b(?:answer|respond|reply|output|return|print|choose|select|pick|assign)(?: it| them| this)?(?: only| just| always| exactly)?"
     r"(?: (?:with|the|a|one|this|single|following|exact|correct)){1,4} (?:letter|label|category|code|class)\b"),
    ("prete", "you are a|you're a|you are now|you're now|you must|from now on|act as|new instr|new task|new system|your new|your task|your instr|your only|your real|your true|your job",
     r"\byou(?: are|'re) (?:now )?(?:an? |the )?(?:helpful |unrestricted |uncensored )?(?:language model|ai assistant|llm|labell?er|classifier|annotator"
     r"|dan\b|labell?ing (?:model|assistant|system))|\bfrom now on,? (?:you (?:are|will|must|should|always)|every|all|answer|label|respond)"
     r"|\bact as (?:if you (?:are|were)|an? (?:\w{1,14} )?(?:labell?er|classifier|annotator|ai|language model))"
     r"|\bpretend (?:that )?(?:you are|you're|the text|this text|this message)\b|\bnew (?:instructions?|task|system prompt) ?(?::|for you|from)"
     r"|\byour (?:new |only |real |true |actual )?(?:task|instructions?|job|role) (?:is now|has changed|have changed|has been|have been|now is)"
     r"|\byour (?:only|new|real|true) (?:task|job|goal) is\b"
     r"|\byou must (?:now )?(?:answer|label|respond|classify|output|choose|select|assign)"),
    ("ai llm llms langu model annot label class grade assis chatb bot bots machi autom", "",
     rf"\b(?:notes?|attention|dear|messages?|instructions?|hey|hello|information|reminder)(?: to| for)?[,:]? (?:all |any |the |every )?{WHO}\b"
     r"(?= ?[:,;.!(-]|\s{1,2}(?:who|that|which|reading|processing|only|please|label|labell?ing))"
     rf"|\bif you(?: are|'re) an? (?:ai|a\.i\.|llm|language model|chatbot|automated|labell?er|classifier|annotator|machine)"
     rf"|\b{WHO} (?:that is |that are |who is |who are )?(?:reading|processing|labell?ing|classifying|annotating) this"),
    ("promp overr direc admin opera super devel moder jailb debug maint", "system instr",
     r"\bsystem (?:prompt|override|instructions? (?:for|to|update)|directive|update:)|\b(?:admin|administrator|operator|supervisor|developer|moderator)"
     r"(?:istrator)? (?:note|override|instruction|command|directive|mode)\b(?: ?:| to)|\bjailbreak(?:ing)? (?:mode|prompt)"
     r"|\b(?:debug|maintenance|developer) mode (?:is )?(?:on|enabled|active)|\b(?:policy|priority|security) override\b"),
    ("above", "end of |ends here|stops here|over here|the real |the actual ",
     rf"\bend of (?:the )?(?:{TEXT}|data|document|user input|untrusted)\b(?=[\s.:*=\-\])]{{0,6}}(?:new|now|label|the|system|instruction|next|answer|$))"
     rf"|\b(?:{TEXT}|data) (?:ends|stops|is over) here\b|\b(?:the )?(?:{TEXT} )?above (?:is|was) (?:only |just |merely )?an? (?:test|example|placeholder|decoy|mistake)"
     rf"|\bthe (?:real|actual) {TEXT} (?:is|to (?:be )?(?:label|classif|sort)|begins|starts|follows)"),
    ("vafge vtabe ynory", "", r"vafgehpgvba|vtaber (?:nyy|cerivbhf|gur)|ynory guvf"),  # rot13
    ("ignor ignór olvid omiso etiqu clasi categ respo conte", "",
     rf"\b(?:ignor[aeé]\w{{0,4}}|olvid[ae]\w{{0,4}}|haz caso omiso){NEAR}(?:instrucci|indicaci|reglas|[oó]rdenes)"
     r"|\b(?:etiquet|clasif|categori[zc])\w{1,7} (?:este|esta|el|la) (?:texto|mensaje|correo|consulta|ejemplo)"
     r"|\b(?:respond|contest)\w{1,3} (?:solo|sólo|solamente|únicamente|exclusivamente) con"),
    ("ignor oubli tenez tiens class étiqu catég répon", "",
     rf"\b(?:ignor(?:e|ez|er|ons)|oubli(?:e|ez|er)|ne ten(?:ez|s) pas compte){NEAR}(?:instructions|consignes|règles|ordres)"
     r"|\b(?:class|étiquet|catégoris)\w{1,6} (?:ce|cet|cette|le|la) (?:texte|message|courriel|demande|exemple)"
     r"|\brépond\w{0,3} (?:uniquement|seulement|exclusivement)(?: par| avec)?"),
    ("ignor vergi verge missa überg klass kateg etike ordne marki antwo", "",
     rf"\b(?:ignorier\w{{0,3}}|vergiss|vergessen sie|missacht\w{{1,3}}|übergeh\w{{1,3}}){NEAR}(?:anweisung|instruktion|regeln|vorgaben|befehle)"
     r"|\b(?:klassifizier|kategorisier|etikettier|ordne|markier)\w{0,3} (?:sie )?(?:diese[nrs]?|den|die|das) (?:obige[nr]? |folgende[nr]? )?"
     r"(?:text|nachricht|e-mail|anfrage|beispiel|dokument)|\bantwort\w{0,3} (?:sie )?(?:nur|ausschließlich|einzig|lediglich) mit"),
    ("ignor esque desco class categ rotul etiqu respo", "",
     rf"\b(?:ignor[ea]\w{{0,3}}|esque[çc]\w{{1,3}}|desconsider\w{{1,3}}){NEAR}(?:instruç|regras|ordens|orientaç|comandos)"
     r"|\b(?:classifi|categori[zs]|rotul|etiquet)\w{1,6} (?:este|esta|esse|essa|o|a) (?:texto|mensagem|pedido|exemplo|e-mail)"
     r"|\brespond\w{1,3} (?:apenas|somente|só|unicamente) com"),
    ("ignor dimen class etich categ rispo", "",
     rf"\b(?:ignor(?:a|are|ate|i)|dimentic\w{{1,4}}){NEAR}(?:istruzioni|regole|indicazioni|ordini)"
     r"|\b(?:classific|etichett|categorizz)\w{1,5} (?:questo|questa|il|la) (?:testo|messaggio|richiesta|esempio)"
     r"|\brispond\w{1,3} (?:solo|soltanto|unicamente|esclusivamente) con"),
    ("negee verge class categ antwo label", "",
     rf"\b(?:negeer|vergeet){NEAR}(?:instructies|regels|opdrachten|aanwijzingen)|\b(?:label|classificeer|categoriseer) (?:deze|dit|het) "
     r"|\bantwoord (?:alleen|uitsluitend) met"),
    ("zigno ignor zapom pomiń oznac sklas przyp odpow", "",
     rf"\b(?:z?ignoruj|zapomnij|pomiń){NEAR}(?:instrukcj|poleceni|zasad|reguł)|\b(?:oznacz|sklasyfikuj|przypisz) (?:ten|tę|tekst)"
     r"|\bodpowiedz (?:tylko|wyłącznie)"),
    ("abaik lupak görme dikka", "yok say|unut|bỏ qua|phớt lờ",
     rf"\b(?:abaikan|lupakan){NEAR}(?:instruksi|perintah|aturan)|(?:talimat|komut|yönerge|kural)\w{{0,8}}{NEAR}(?:görmezden|yok say|dikkate alma|unut)"
     rf"|(?:bỏ qua|phớt lờ){NEAR}(?:hướng dẫn|chỉ dẫn|mệnh lệnh|quy tắc)"),
    ("игнор проиг забуд обращ помет отмет класс отнес ответ отвеч", "",
     rf"(?:игнорир\w{{1,5}}|забудь\w{{0,2}}|не обращай\w{{0,2}} внимани\w){NEAR}(?:инструкци|указани|правил|команд|предыдущ)"
     r"|(?:пометь|отметь|классифицируй|отнеси|отнесите)\w{0,2} (?:этот|это|данный|данное|текст|сообщение)"
     r"|(?:ответь|отвечай)\w{0,2} (?:только|лишь|исключительно)"),
    ("", "忽略|无视|無視|忘记|忘掉|不要理会|标记|標記|归类|分类|分類|标注|回答|输出|回复",
     r"(?:忽略|无视|無視|忘记|忘掉|不要理会)[^。\n]{0,14}(?:指令|指示|说明|說明|规则|規則|提示|要求)"
     r"|(?:把|将|請|请)[^。\n]{0,12}(?:标记|標記|归类|分类|分類|标注)[^。\n]{0,6}(?:为|為|成|到)|(?:只|仅|僅)(?:能)?(?:回答|输出|回复|輸出|回覆)"),
    ("", "無視|忘れ|ラベル|分類|だけ|のみ",
     r"(?:指示|命令|ルール|規則|プロンプト)[^。\n]{0,8}(?:無視|忘れ)|(?:テキスト|文章|メッセージ|これ)[^。\n]{0,12}(?:と|に)(?:分類|ラベル)"
     r"|(?:だけ|のみ)(?:を|で)?(?:回答|出力|答え|返)"),
    ("", "무시|잊|분류|라벨|답하|답변|출력",
     r"(?:지시|명령|규칙|프롬프트|지침)[^.\n]{0,10}(?:무시|잊)|(?:텍스트|문장|메시지)[^.\n]{0,16}(?:으로|로) (?:분류|라벨)|만 (?:답하|답변|출력)"),
    ("", "تجاهل|انس |انسى|صنف|صنّف|أجب|اجب",
     r"(?:تجاهل|انس|انسى)[^.\n]{0,24}?(?:التعليمات|تعليمات|الأوامر|الاوامر|القواعد|التوجيهات)|(?:صن[ّ]?ف) (?:هذا|هذه|النص|الرسالة)"
     r"|(?:أجب|اجب) (?:فقط|بكلمة)"),
    ("", "نادیده|فراموش|برچسب|अनदेखा|नज़रअंदाज़|भूल|वर्गीकृत|लेबल",
     r"(?:دستورالعمل|دستورات|دستور|قوانین)[^.\n]{0,24}?(?:نادیده|فراموش)|این متن را[^.\n]{0,24}?(?:برچسب|دسته)"
     r"|(?:निर्देश|आदेश|नियम)[^।\n]{0,24}?(?:अनदेखा|नज़रअंदाज़|भूल)|इस (?:पाठ|संदेश|टेक्स्ट) को[^।\n]{0,24}?(?:वर्गीकृत|लेबल)"),
)  # fmt: skip



def _by_trigger(column: int, separator: str | None) -> dict[str, tuple[re.Pattern[str], ...]]:
    found: dict[str, tuple[re.Pattern[str], ...]] = {}
    for rule in _RULES:
        for trigger in filter(None, rule[column].split(separator)):
            found[trigger] = (*found.get(trigger, ()), re.compile(rule[2]))
    return found


STEMS = _by_trigger(0, None)
PARTS = _by_trigger(1, "|")
ASCII_PARTS = {part: patterns for part, patterns in PARTS.items() if part.isascii()}
