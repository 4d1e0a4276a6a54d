"""What `feast -c features ...` reads: the views over the home folder named by KAIROS_HOME (see `kairos env`)."""

import os

from features import settings, views

_views = views.build(settings.load(os.environ).home.history)

customer_entity = views.CUSTOMER
candidate_entity = views.CANDIDATE
customer = _views["customer"]
candidate = _views["candidate"]
successors = _views["successors"]
attributes = _views["attributes"]
identity = _views["identity"]
