"""`florilegium report`: what a run holds, for people who did not make it.

figures.py     every number of the report, from the run's views, ledger and plan
charts.py      figures as SVG that follow the page's light or dark colours
words.py       charters, recipes and limits in sentences
page.py        index.html: one file, no script, nothing from the net
datasheet.py   README.md: a data set card, and croissant.json
write.py       all of it into the run's report/
"""
