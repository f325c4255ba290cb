"""What shops call their columns: for each catalogue column the usual names, most telling first."""

from __future__ import annotations

import re

TARGETS: dict[str, tuple[str, ...]] = {
    "item_id": (
        "item_id",
        "product_id",
        "sku",
        "asin",
        "article_id",
        "variant_id",
        "id",
        "_id",
        "uid",
        "item_number",
        "article_number",
        "part_number",
        "handle",
        "code",
        "uniq_id",
        "gtin",
        "ean",
        "upc",
        "item",
    ),
    "group_id": (
        "group_id",
        "item_group_id",
        "parent_asin",
        "parent_id",
        "parent_sku",
        "parent_product_id",
        "master_id",
        "model_id",
        "style_id",
        "variant_group",
        "product_group_id",
    ),
    "title": (
        "title",
        "product_title",
        "item_title",
        "name",
        "product_name",
        "item_name",
        "display_name",
        "headline",
        "product",
        "label",
    ),
    "description": (
        "description",
        "product_description",
        "long_description",
        "body",
        "body_html",
        "summary",
        "short_description",
        "text",
        "details_text",
        "bullet_points",
        "bullet_point",
        "product_bullet_point",
        "bullets",
        "feature_bullets",
        "about",
        "about_product",
        "features",
        "feature",
    ),
    "brand": (
        "brand",
        "brand_name",
        "product_brand",
        "manufacturer",
        "manufacturer_name",
        "supplier",
        "vendor",
        "maker",
        "publisher",
    ),
    "category": (
        "category",
        "categories",
        "category_path",
        "category_hierarchy",
        "category_tree",
        "product_category_tree",
        "product_category",
        "category_name",
        "product_type",
        "google_product_category",
        "taxonomy",
        "breadcrumb",
        "breadcrumbs",
        "department",
        "product_class",
        "main_category",
    ),
    "price_cents": (
        "price_cents",
        "price_in_cents",
        "price",
        "sale_price",
        "selling_price",
        "current_price",
        "discounted_price",
        "final_price",
        "unit_price",
        "price_amount",
        "price.amount",
        "price.value",
        "price_eur",
        "price_usd",
        "retail_price",
    ),
    "list_price_cents": (
        "list_price_cents",
        "list_price",
        "original_price",
        "regular_price",
        "msrp",
        "rrp",
        "compare_at_price",
        "was_price",
        "actual_price",
        "price_before",
        "mrp",
    ),
    "currency": ("currency", "currency_code", "price_currency", "price.currency"),
    "rating": (
        "rating",
        "average_rating",
        "avg_rating",
        "rating_average",
        "stars",
        "review_rating",
        "ratings",
        "rating.average",
    ),
    "rating_count": (
        "rating_count",
        "ratings_count",
        "rating_number",
        "num_ratings",
        "review_count",
        "reviews_count",
        "num_reviews",
        "number_of_reviews",
        "reviews",
        "no_of_ratings",
        "rating.count",
    ),
    "images": (
        "images",
        "image",
        "image_url",
        "image_urls",
        "image_link",
        "img",
        "img_high",
        "img_url",
        "picture",
        "picture_url",
        "photo",
        "main_image",
        "primary_image",
        "thumbnail",
        "thumbnail_url",
        "imageurl",
        "imgurl",
    ),
    "locale": ("locale", "language", "lang", "product_locale", "lang_code"),
    "merchant": ("merchant", "seller", "seller_name", "merchant_name", "store", "shop", "sold_by"),
    "created_s": (
        "created_s",
        "created",
        "created_at",
        "date_created",
        "date_released",
        "release_date",
        "published_at",
        "date_added",
        "launch_date",
        "date_first_available",
        "publish_date",
        "publication_date",
    ),
    "stock": (
        "stock",
        "stock_quantity",
        "quantity",
        "qty",
        "inventory",
        "inventory_quantity",
        "available_quantity",
        "in_stock",
        "availability",
    ),
    "active": ("active", "is_active", "enabled", "visible", "published", "available"),
}
"""Catalogue column -> names under which shops export it."""

SHORT = {
    "price": "price_cents",
    "list_price": "list_price_cents",
    "id": "item_id",
    "group": "group_id",
    "image": "images",
    "created": "created_s",
    "name": "title",
    "categories": "category",
}
"""What a user may write for a catalogue column on the command line."""

IGNORED: dict[str, str] = {
    **dict.fromkeys(
        ("query_id", "query_ids", "query", "split", "small_version", "large_version"), "of an evaluation set"
    ),
    **dict.fromkeys(("unnamed:_0", "index", "row", "row_id"), "a row number"),
    **dict.fromkeys(("embedding", "vector"), "numbers of a model"),
    **dict.fromkeys(("also_buy", "also_view", "bought_together", "related"), "links to other products"),
}
"""Names (as ``plain_name`` writes them) left out unless the user asks for them, with the reason."""

ATTRIBUTE_PARENTS = (
    "attributes",
    "attribute",
    "attrs",
    "attr",
    "specs",
    "spec",
    "specifications",
    "properties",
    "details",
    "features",
    "product_features",
    "technical_details",
)
"""Objects (``attributes.color``) and packed texts that hold attributes."""

_PREFIX = re.compile(
    r"^(?:attr_[tnb]_|attrs?[_.:]|attributes?[_.:]|specs?[_.:]|(?:specifications|properties|details|features|technical_details)\.)",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def plain_name(name: str) -> str:
    """'Product Name', 'productName', 'product-name', 'title:token' -> 'product_name', 'title'."""
    name = name.strip().split(":token")[0].split(":float")[0]
    return re.sub(r"[\s\-/]+", "_", _CAMEL.sub("_", name)).strip("_ ").lower() if name != "_id" else name


def attribute_name(column: str) -> str:
    """'attr_t_colour' -> 'colour', 'attributes.Size' -> 'size': how an attribute is called in the shop."""
    name = plain_name(_PREFIX.sub("", column.strip())).removeprefix("product_")
    return name.strip("_") or column


def is_attribute(column: str) -> bool:
    """The name itself says that the column is an attribute (``attr_*``, ``attributes.*``)."""
    return _PREFIX.match(column.strip()) is not None
