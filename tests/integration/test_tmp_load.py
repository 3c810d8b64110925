import sys, time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
import httpx
def test_load(api, make_person):
    from zea.accounts.models import Role
    for label, people in (("distinct",[make_person(Role.ATHLETE) for _ in range(90)]),("same",[make_person(Role.ATHLETE)]*90)):
        def change(n):
            t=time.monotonic()
            s=api.patch("/api/me", headers=people[n%90].headers, json={"name": f"Ana {n}"}).status_code
            return s, time.monotonic()-t
        b=time.monotonic()
        with ThreadPoolExecutor(90) as t: r=list(t.map(change, range(540)))
        print(label, Counter(s for s,_ in r), "max", max(x for _,x in r), "total", time.monotonic()-b)
